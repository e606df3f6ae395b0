"use strict";
// What the page does beyond reading: sort the table.
{
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const message = document.getElementById("sorted");
  const headers = [...table.tHead.rows[0].cells];
  // The name of a row, or the number at the start of a cell; cells without one are last.
  const compare = (a, b, column) => {
    const [left, right] = [a, b].map((row) => row.cells[column].textContent.trim());
    if (!column) return left.localeCompare(right);
    const [x, y] = [left, right].map((text) => {
      const number = parseFloat(text.replaceAll(",", ""));
      return Number.isNaN(number) ? -Number.MAX_VALUE : number;
    });
    return x - y;
  };

  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    header.replaceChildren(button);
    button.addEventListener("click", () => {
      const before = header.getAttribute("aria-sort");
      // Numbers begin with the highest, names with the first.
      const direction =
        before === "descending" || (!before && !column) ? "ascending" : "descending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      const rows = [...body.rows].sort((a, b) => sign * compare(a, b, column));
      body.append(...rows);
      message.textContent = `Sorted by ${button.textContent}, ${direction}.`;
    });
  });
}
