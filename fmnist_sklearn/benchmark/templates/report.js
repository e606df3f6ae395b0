"use strict";
// What the page does beyond reading: sort the table, and read values off the curves.
{
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const message = document.getElementById("sorted");
  const headers = [...table.tHead.rows[0].cells];
  const sortable = (cell) =>
    "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));

  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    header.replaceChildren(button);
    button.addEventListener("click", () => {
      const isNumber = header.classList.contains("number");
      const before = header.getAttribute("aria-sort");
      // Numbers begin with the highest, names with the first.
      const direction =
        before === "descending" || (!before && !isNumber) ? "ascending" : "descending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      const rows = [...body.rows].sort(
        (a, b) => sign * compare(sortable(a.cells[column]), sortable(b.cells[column]))
      );
      body.append(...rows);
      message.textContent = `Sorted by ${button.textContent}, ${direction}.`;
    });
  });

  for (const chart of document.querySelectorAll(".chart")) {
    const reading = chart.parentElement.querySelector(".reading");
    const cursor = chart.querySelector(".cursor");
    const points = [...chart.querySelectorAll("circle")];
    const places = new Map(points.map((p) => [Number(p.dataset.epoch), p.cx.baseVal.value]));
    const epochs = [...places.keys()].sort((a, b) => a - b);
    let shown = null;

    const show = (epoch) => {
      shown = epoch;
      cursor.setAttribute("visibility", epoch === null ? "hidden" : "visible");
      if (epoch === null) {
        reading.textContent = "";
        return;
      }
      const isRight = places.get(epoch) > chart.viewBox.baseVal.width / 2;
      reading.classList.toggle("aside", isRight);
      cursor.setAttribute("transform", `translate(${places.get(epoch)} 0)`);
      const values = points
        .filter((p) => Number(p.dataset.epoch) === epoch)
        .filter((p) => getComputedStyle(p.parentElement).display !== "none")
        .map((p) => `${p.dataset.text}  ${p.parentElement.dataset.name}`);
      reading.textContent = [`epoch ${epoch}`, ...values].join("\n");
    };

    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
      const nearest = epochs.reduce((a, b) =>
        Math.abs(places.get(b) - x) < Math.abs(places.get(a) - x) ? b : a
      );
      if (nearest !== shown) show(nearest);
    });
    chart.addEventListener("pointerleave", () => show(null));
    chart.setAttribute("tabindex", "0");
    chart.addEventListener("blur", () => show(null));
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const place = shown === null ? (step > 0 ? -1 : epochs.length) : epochs.indexOf(shown);
      show(epochs[Math.min(Math.max(place + step, 0), epochs.length - 1)]);
    });
  }
}
