"use strict";
// The network, the preparation of pictures, and what the page does with both. Pictures are
// {width, height, data}, RGBA of 0 to 255, as a canvas gives them.
{
  const byId = (id) => document.getElementById(id);
  const model = JSON.parse(byId("model").textContent);
  const [channels, height, width] = model.shape;

  // The network ---------------------------------------------------------------------

  // First a scale for each row and a bias of all layers, then integers of 16 bits.
  function readLayers() {
    const text = atob(byId("weights").textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const nRows = model.layers.reduce((n, [kind, sizes]) => n + (kind in products ? sizes[0] : 0), 0);
    const floats = new Float32Array(bytes.buffer, 0, 2 * nRows);
    const integers = new Int16Array(bytes.buffer, 8 * nRows);
    let [start, first] = [0, 0];
    return model.layers.map(([kind, sizes, padding]) => {
      if (!(kind in products)) return { kind, sizes };
      const nOut = sizes[0];
      const length = sizes.reduce((a, b) => a * b);
      const scales = floats.subarray(start, start + nOut);
      const bias = floats.subarray(start + nOut, start + 2 * nOut);
      const weights = new Float32Array(length);
      for (let i = 0; i < length; i++)
        weights[i] = integers[first + i] * scales[Math.floor((i * nOut) / length)];
      start += 2 * nOut;
      first += length;
      return { kind, sizes, padding, weights, bias };
    });
  }

  // An image is {shape: [channels, height, width], values}.
  function pad({ shape: [c, h, w], values }, [left, right, top, bottom]) {
    const shape = [c, top + h + bottom, left + w + right];
    const padded = new Float32Array(shape[0] * shape[1] * shape[2]);
    for (let row = 0; row < c * h; row++) {
      const start = (Math.floor(row / h) * shape[1] + top + (row % h)) * shape[2] + left;
      padded.set(values.subarray(row * w, (row + 1) * w), start);
    }
    return { shape, values: padded };
  }

  // Products of two channels' weights with the patches at four places, whose sums stay in
  // registers: several times as fast as one sum at a time.
  function multiply(weights, first, second, n, patches, sums, to, area) {
    let [a0, a1, a2, a3, b0, b1, b2, b3] = [0, 0, 0, 0, 0, 0, 0, 0];
    for (let i = 0, at = 0; i < n; i++, at += 4) {
      const a = weights[first + i];
      const b = weights[second + i];
      a0 += a * patches[at];
      a1 += a * patches[at + 1];
      a2 += a * patches[at + 2];
      a3 += a * patches[at + 3];
      b0 += b * patches[at];
      b1 += b * patches[at + 1];
      b2 += b * patches[at + 2];
      b3 += b * patches[at + 3];
    }
    [a0, a1, a2, a3].forEach((sum, k) => (sums[to + k] = sum));
    [b0, b1, b2, b3].forEach((sum, k) => (sums[to + area + k] = sum));
  }

  function convolve(image, weights, bias, [nOut, nIn, kernel], padding) {
    const { shape, values } = pad(image, Array(4).fill(padding));
    const [, h, w] = shape;
    const [hOut, wOut] = [h - kernel + 1, w - kernel + 1];
    const places = hOut * wOut;
    const area = 4 * Math.ceil(places / 4);
    const n = nIn * kernel * kernel;
    const sums = new Float32Array((nOut + 1) * area);
    const patches = new Float64Array(4 * n); // the first value of each, the second, ...
    for (let place = 0; place < area; place += 4) {
      for (let k = 0; k < 4; k++) {
        const at = Math.min(place + k, places - 1);
        const start = Math.floor(at / wOut) * w + (at % wOut);
        let to = k;
        for (let channel = 0; channel < nIn; channel++)
          for (let y = 0; y < kernel; y++)
            for (let x = 0; x < kernel; x++, to += 4)
              patches[to] = values[start + (channel * h + y) * w + x];
      }
      for (let out = 0; out < nOut; out += 2) {
        const next = Math.min(out + 1, nOut - 1);
        multiply(weights, out * n, next * n, n, patches, sums, out * area + place, area);
      }
    }
    const result = new Float32Array(nOut * places);
    for (let out = 0; out < nOut; out++)
      for (let i = 0; i < places; i++) result[out * places + i] = sums[out * area + i] + bias[out];
    return { shape: [nOut, hOut, wOut], values: result };
  }

  function maxPool({ shape: [c, h, w], values }) {
    const shape = [c, h >> 1, w >> 1];
    const result = new Float32Array(c * shape[1] * shape[2]);
    let to = 0;
    for (let channel = 0; channel < c; channel++)
      for (let row = 0; row < shape[1]; row++)
        for (let column = 0; column < shape[2]; column++) {
          const at = (channel * h + 2 * row) * w + 2 * column;
          result[to++] = Math.max(values[at], values[at + 1], values[at + w], values[at + w + 1]);
        }
    return { shape, values: result };
  }

  function dense({ values }, weights, bias, [nOut, nIn]) {
    const result = Float32Array.from(bias);
    for (let out = 0; out < nOut; out++) {
      let sum = 0;
      for (let i = 0, at = out * nIn; i < nIn; i++, at++) sum += weights[at] * values[i];
      result[out] += sum;
    }
    return { shape: [nOut], values: result };
  }

  const activations = { elu: (x) => (x > 0 ? x : Math.expm1(x)), relu: (x) => Math.max(x, 0) };
  const products = { conv: convolve, dense };
  const layers = readLayers();

  function logitsOf(image) {
    for (const { kind, sizes, padding, weights, bias } of layers)
      if (kind in products) image = products[kind](image, weights, bias, sizes, padding);
      else if (kind in activations) image.values = image.values.map(activations[kind]);
      else image = kind === "pool" ? maxPool(image) : pad(image, sizes);
    return image.values;
  }

  // Pixels are a row as the estimator takes it: channel by channel, in the fitted range.
  function predict(pixels) {
    const area = height * width;
    if (pixels.length !== channels * area)
      throw new RangeError(`expected ${channels * area} pixels, got ${pixels.length}`);
    const scale = (x, i) => (x - model.mean[Math.floor(i / area)]) / model.std[Math.floor(i / area)];
    const values = Float32Array.from(pixels, scale);
    let logits = logitsOf({ shape: model.shape, values });
    if (model.flip) {
      const mirror = (_, i) => values[i - (i % width) + width - 1 - (i % width)];
      const mirrored = logitsOf({ shape: model.shape, values: values.map(mirror) });
      logits = logits.map((x, i) => (x + mirrored[i]) / 2);
    }
    const highest = Math.max(...logits);
    const exps = Array.from(logits, (x) => Math.exp(x - highest));
    const total = exps.reduce((a, b) => a + b);
    const probabilities = exps.map((x) => x / total);
    return { label: model.labels[logits.indexOf(highest)], probabilities };
  }

  // The preparation of pictures, step by step as in Python ------------------------------

  // Averages over boxes of pixels, as Pillow's reduce does.
  function reduce({ width: w, height: h, data }, across, down) {
    const [wOut, hOut] = [Math.ceil(w / across), Math.ceil(h / down)];
    const result = new Uint8ClampedArray(wOut * hOut * 4);
    for (let y = 0; y < hOut; y++)
      for (let x = 0; x < wOut; x++) {
        const [right, bottom] = [Math.min((x + 1) * across, w), Math.min((y + 1) * down, h)];
        const sums = [0, 0, 0, 0];
        for (let row = y * down; row < bottom; row++)
          for (let at = (row * w + x * across) * 4; at < (row * w + right) * 4; at += 4) {
            for (let k = 0; k < 3; k++) sums[k] += data[at + k] * data[at + 3];
            sums[3] += data[at + 3];
          }
        const n = (right - x * across) * (bottom - y * down);
        for (let k = 0; k < 3; k++) result[(y * wOut + x) * 4 + k] = Math.floor(sums[k] / (sums[3] || 1) + 0.5);
        result[(y * wOut + x) * 4 + 3] = Math.floor(sums[3] / n + 0.5);
      }
    return { width: wOut, height: hOut, data: result };
  }

  const lanczos = (x) => {
    const sinc = (t) => (t === 0 ? 1 : Math.sin(t * Math.PI) / (t * Math.PI));
    return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  };

  // One pass of Pillow's resize: rows to `size` pixels; the result is transposed.
  function resizeRows(values, w, h, size) {
    const result = new Uint8ClampedArray(size * h);
    const scale = w / size;
    const stretch = Math.max(scale, 1);
    for (let x = 0; x < size; x++) {
      const middle = (x + 0.5) * scale;
      const first = Math.max(Math.trunc(middle - 3 * stretch + 0.5), 0);
      const last = Math.min(Math.trunc(middle + 3 * stretch + 0.5), w);
      const taps = [];
      for (let i = first; i < last; i++) taps.push(lanczos((i - middle + 0.5) / stretch));
      const total = taps.reduce((a, b) => a + b);
      const fixed = taps.map((tap) => Math.trunc((tap / total) * 2 ** 22 + 0.5 * Math.sign(tap)));
      for (let y = 0; y < h; y++) {
        let sum = 2 ** 21;
        for (let i = first; i < last; i++) sum += values[y * w + i] * fixed[i - first];
        result[x * h + y] = Math.floor(sum / 2 ** 22);
      }
    }
    return result;
  }

  // Planes are one array of values for each channel.
  function resize(planes, w, h) {
    return planes.map((plane) => {
      // A pass that changes no size still transposes, and leaves all values.
      const narrow = resizeRows(plane, w, h, width); // (width, h)
      return resizeRows(narrow, h, width, height); // (height, width)
    });
  }

  // RGB, or grey by Pillow's weights.
  function toPlanes({ width: w, height: h, data }) {
    const planes = Array.from({ length: channels }, () => new Float64Array(w * h));
    for (let i = 0, at = 0; i < w * h; i++, at += 4)
      if (channels === 3) for (let k = 0; k < 3; k++) planes[k][i] = data[at + k];
      else planes[0][i] = (data[at] * 19595 + data[at + 1] * 38470 + data[at + 2] * 7471 + 0x8000) >> 16;
    return planes;
  }

  function onWhite({ width: w, height: h, data }) {
    const result = new Uint8ClampedArray(data);
    for (let at = 0; at < data.length; at += 4)
      for (let k = 0; k < 3; k++)
        result[at + k] = Math.round((data[at + k] * data[at + 3] + 255 * (255 - data[at + 3])) / 255);
    return { width: w, height: h, data: result };
  }

  const CONTRAST = 13; // as _MIN_CONTRAST and the others in photos/picture.py
  
  function quantile(values, q) {
    const ordered = new Float64Array(values).sort();
    const at = q * (ordered.length - 1);
    const [low, high] = [ordered[Math.floor(at)], ordered[Math.ceil(at)]];
    return low + (high - low) * (at % 1);
  }
  const range = (n) => Array.from({ length: n }, (_, i) => i);
  const strengthOf = (planes) =>
    planes.reduce((most, plane) => most.map((x, i) => Math.max(x, Math.abs(plane[i]))),
      new Float64Array(planes[0].length));

  // The width of a thin line along one edge; `at(depth, along)` is an index of a pixel.
  function lineWidth(data, at, length, limit) {
    const along = range(length - 2 * limit).map((i) => i + limit);
    const pixel = (depth, i) =>
      [0, 1, 2, 3].map((k) => {
        const opacity = data[4 * at(depth, i) + 3];
        return k === 3 ? opacity : Math.round((data[4 * at(depth, i) + k] * opacity) / 255);
      });
    const lines = range(limit + 1).map((depth) => along.map((i) => pixel(depth, i)));
    const middles = lines.map((line) => range(4).map((k) => quantile(line.map((p) => p[k]), 0.5)));
    const differs = (a, b, most) => a.some((value, k) => Math.abs(value - b[k]) > most);
    const last = range(limit).filter((depth) => {
      const plain = lines[depth].filter((p) => !differs(p, middles[depth], 2 * CONTRAST));
      const changed = lines[depth].filter((p, i) => differs(p, lines[depth + 1][i], CONTRAST / 2));
      return Math.min(plain.length, changed.length) > 0.9 * along.length;
    });
    return last.length ? last.at(-1) + 1 : 0;
  }

  function cutFrame(picture) {
    const { width: w, height: h, data } = picture;
    const side = Math.min(w, h);
    const limit = Math.max(Math.floor(side / 50), Math.min(4, Math.floor(side / 7)));
    if (limit === 0) return picture;
    const [left, top, right, bottom] = [
      lineWidth(data, (depth, i) => i * w + depth, h, limit),
      lineWidth(data, (depth, i) => depth * w + i, w, limit),
      lineWidth(data, (depth, i) => i * w + w - 1 - depth, h, limit),
      lineWidth(data, (depth, i) => (h - 1 - depth) * w + i, w, limit),
    ];
    if (Math.min(left, top, right, bottom) === 0) return picture;
    const inner = { width: w - left - right, height: h - top - bottom };
    const rows = range(inner.height).map((row) => {
      const start = ((row + top) * w + left) * 4;
      return data.subarray(start, start + 4 * inner.width);
    });
    inner.data = new Uint8ClampedArray(4 * inner.width * inner.height);
    rows.forEach((row, i) => inner.data.set(row, 4 * inner.width * i));
    return inner;
  }

  // Whether the picture has more than noise, specks and smooth shading.
  function hasOutlines(planes, w, h) {
    const directions = [[h, w, w, 1], [w, 1, h, w]].filter(([length]) => length > 1);
    const stepsOf = ([length, stride, across, other]) => {
      const distance = Math.max(Math.floor(length / 25), 1) * stride;
      return (i, j) => {
        let step = 0;
        for (const plane of planes) {
          const at = i * stride + j * other;
          step = Math.max(step, Math.abs(plane[at + distance] - plane[at]));
        }
        return step;
      };
    };
    const nSteps = (length) => length - Math.max(Math.floor(length / 25), 1);
    const noise = directions.map((direction) => {
      const step = stepsOf(direction);
      const edges = range(nSteps(direction[0])).map((i) => [step(i, 0), step(i, direction[2] - 1)]);
      return quantile(edges.flat(), 0.75);
    });
    const threshold = Math.max(CONTRAST, 5 * Math.min(...(noise.length ? noise : [0])));
    let count = 0;
    for (const direction of directions) {
      const step = stepsOf(direction);
      for (let i = 0; i < nSteps(direction[0]); i++)
        for (let j = 0; j < direction[2]; j++) if (step(i, j) > threshold) count++;
    }
    return count > 2e-4 * w * h;
  }

  function differFromBorder(planes, w, h) {
    const border = [];
    for (let x = 0; x < w; x++) border.push(x, (h - 1) * w + x);
    for (let y = 0; y < h; y++) border.push(y * w, y * w + w - 1);
    const level = (i) => Math.floor(planes.reduce((sum, p) => sum + p[i], 0) / planes.length / 16);
    const counts = Array(16).fill(0);
    border.forEach((i) => counts[level(i)]++);
    const frequent = counts.indexOf(Math.max(...counts));
    const background = border.filter((i) => level(i) === frequent);
    return planes.map((plane) => {
      const shade = quantile(background.map((i) => plane[i]), 0.5);
      return plane.map((value) => value - shade);
    });
  }

  const thresholdOf = (strength) =>
    Math.max(CONTRAST, 0.2 * strength.reduce((a, b) => Math.max(a, b), -Infinity));

  // From white for a cut-out, or from black for a mostly white one.
  function differByOpacity(planes, opacity) {
    let sign = -1;
    let difference = planes.map((plane) => plane.map((value, i) => (value - 255) * opacity[i]));
    const most = (signed) => opacity.map((_, i) => Math.max(...difference.map((d) => signed * d[i])));
    let strength = most(-1);
    const limit = thresholdOf(strength);
    const total = opacity.reduce((a, b) => a + b);
    if (opacity.reduce((sum, o, i) => sum + (strength[i] <= limit ? o : 0), 0) > total / 2) {
      sign = 1;
      difference = planes.map((plane) => plane.map((value, i) => value * opacity[i]));
      strength = most(1);
    }
    const least = 1.5 * thresholdOf(strength);
    const lacking = opacity.map((o, i) => Math.max(least * o - strength[i], 0));
    return difference.map((plane) => plane.map((value, i) => value + sign * lacking[i]));
  }

  // The item light on black, filling the image; null if none is found.
  function cutOutClothing(picture) {
    const inner = cutFrame(picture);
    const { width: w, height: h, data } = inner;
    const opacity = Float64Array.from({ length: w * h }, (_, i) => data[4 * i + 3] / 255);
    const clear = opacity.map((o) => o < CONTRAST / 255);
    let planes = toPlanes(inner);
    if (clear.reduce((a, b) => a + b) >= 0.01 * w * h) {
      planes = differByOpacity(planes, opacity);
    } else {
      planes = planes.map((plane) => plane.map((value, i) => 255 + (value - 255) * opacity[i]));
      if (!hasOutlines(planes, w, h)) return null;
      planes = differFromBorder(planes, w, h).map((p) => p.map((x, i) => (clear[i] ? 0 : x)));
    }
    const strength = strengthOf(planes);
    const limit = thresholdOf(strength);
    const found = new Uint32Array(strength.keys()).filter((i) => strength[i] > limit);
    if (found.length === 0) return null;
    const full = quantile(strength.filter((x) => x > limit), 0.99);
    const bounds = (ordered) =>
      [0.001, 0.999].map((q) => ordered[Math.round(q * (ordered.length - 1))]);
    const [top, bottom] = bounds(found).map((i) => Math.floor(i / w));
    const [left, right] = bounds(found.map((i) => i % w).sort());
    let sum = 0;
    for (const plane of planes) for (const i of found) sum += plane[i];
    const factor = ((sum > 0 ? 1 : -1) * 255) / full;
    // Padded with black to the proportions of the image.
    const [hItem, wItem] = [bottom - top + 1, right - left + 1];
    const hWhole = Math.max(Math.round((wItem * height) / width), hItem);
    const wWhole = Math.max(Math.round((hItem * width) / height), wItem);
    const start = Math.floor((hWhole - hItem) / 2) * wWhole + Math.floor((wWhole - wItem) / 2);
    const items = planes.map((plane) => {
      const item = new Uint8ClampedArray(hWhole * wWhole);
      for (let y = 0; y < hItem; y++)
        for (let x = 0; x < wItem; x++)
          item[start + y * wWhole + x] = Math.trunc(plane[(top + y) * w + left + x] * factor);
      return item;
    });
    return resize(items, wWhole, hWhole);
  }

  function shrink(picture) {
    const side = 2 * Math.max(width, height);
    const factors = [picture.width, picture.height].map((x) => Math.max(Math.floor(x / 2 / side), 1));
    return Math.max(...factors) > 1 ? reduce(picture, ...factors) : picture;
  }

  // Pixels of 0 to 255, channel by channel, or null if no item of clothing is found.
  function prepare(picture, how = model.preparation) {
    let planes;
    if (how === "clothing") {
      planes = cutOutClothing(picture);
    } else {
      const small = shrink(picture);
      planes = resize(toPlanes(onWhite(small)), small.width, small.height);
    }
    return planes && Float32Array.from(planes.flatMap((plane) => [...plane]));
  }

  Object.assign(window, { predict, prepare });

  // The page --------------------------------------------------------------------------

  const paper = byId("pad");
  const pen = paper.getContext("2d", { willReadFrequently: true });
  const seen = byId("seen");
  const [dark, fill, cut, ink] = ["dark", "fill", "cut", "ink"].map(byId);
  const LONG = 256; // pixels of the pad's longer side
  paper.width = Math.round((LONG * width) / Math.max(width, height));
  paper.height = Math.round((LONG * height) / Math.max(width, height));
  [seen.width, seen.height] = [width, height];
  dark.checked = model.dark;
  cut.checked = fill.checked = model.preparation === "clothing";
  byId("ink-label").hidden = channels === 1;

  let source = null; // a picture, as long as nothing is drawn on it
  let undone = []; // what was on the paper before each stroke
  let isEmpty = true;

  const rows = range(Math.min(5, model.labels.length)).map(() => {
    const row = byId("row").content.firstElementChild.cloneNode(true);
    byId("classes").append(row);
    return row;
  });

  function show(probabilities) {
    const order = range(model.labels.length);
    if (probabilities) order.sort((a, b) => probabilities[b] - probabilities[a]);
    rows.forEach((row, rank) => {
      const p = probabilities ? probabilities[order[rank]] : 0;
      row.querySelector(".name").textContent = probabilities ? model.labels[order[rank]] : "–";
      row.querySelector(".share").textContent = probabilities ? `${(100 * p).toFixed(1)} %` : "";
      row.querySelector(".bar").style.width = `${100 * p}%`;
    });
    return order[0];
  }

  // At most some times a second, for screen readers, and only what is new.
  let latest = "";
  let announcing = 0;
  function announce(text) {
    latest = text;
    announcing ||= setTimeout(() => {
      announcing = 0;
      const status = byId("status");
      if (status.textContent !== latest) status.textContent = latest;
    }, 400);
  }

  function update() {
    const how = cut.checked ? "clothing" : "resize";
    const image = new ImageData(width, height);
    const picture = source ?? pen.getImageData(0, 0, paper.width, paper.height);
    const pixels = isEmpty ? null : prepare(picture, how);
    const area = width * height;
    for (let i = 0; i < area; i++) {
      for (let k = 0; k < 3; k++) image.data[4 * i + k] = pixels ? pixels[(k % channels) * area + i] : 0;
      image.data[4 * i + 3] = pixels ? 255 : 0;
    }
    seen.getContext("2d").putImageData(image, 0, 0);
    if (!pixels) {
      show(null);
      byId("time").textContent = "";
      announce(isEmpty ? "Nothing drawn yet" : "No item found that stands out from a plain background");
      return;
    }
    const start = performance.now();
    const { label, probabilities } = predict(pixels.map((x) => x * model.factor));
    byId("time").textContent = `${(performance.now() - start).toFixed(1)} ms in the network`;
    const best = show(probabilities);
    announce(`${label}, ${Math.round(100 * probabilities[best])} %`);
  }

  let isWaiting = false;
  function updateSoon() {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      update();
    });
  }

  function clear() {
    stopCamera();
    pen.fillStyle = dark.checked ? "#000" : "#fff";
    pen.fillRect(0, 0, paper.width, paper.height);
    [source, undone, isEmpty] = [null, [], true];
    updateSoon();
  }

  // A picture of any size on the pad, stretched as the network will see it.
  async function open(blob) {
    try {
      const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
      stopCamera();
      const most = cut.checked ? 1024 : 4096;
      const scale = Math.min(1, most / Math.max(bitmap.width, bitmap.height));
      const size = [bitmap.width, bitmap.height].map((x) => Math.max(Math.round(x * scale), 1));
      const canvas = new OffscreenCanvas(...size);
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(bitmap, 0, 0, ...size);
      source = context.getImageData(0, 0, ...size);
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, paper.width, paper.height);
      if (cut.checked) {
        const fit = Math.min(paper.width / size[0], paper.height / size[1]);
        const [w, h] = size.map((x) => x * fit);
        pen.drawImage(canvas, (paper.width - w) / 2, (paper.height - h) / 2, w, h);
      } else pen.drawImage(canvas, 0, 0, paper.width, paper.height);
      [undone, isEmpty] = [[], false];
      updateSoon();
    } catch {
      announce("This file cannot be read as a picture.");
    }
  }

  // Drawing: a stroke, and the area inside it where shapes are filled.
  let stroke = null;
  const place = (event) => {
    const box = paper.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * paper.width,
      ((event.clientY - box.top) / box.height) * paper.height,
    ];
  };
  function draw(event) {
    stroke.lineTo(...place(event));
    pen.stroke(stroke);
    updateSoon();
  }
  paper.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    stopCamera();
    paper.setPointerCapture(event.pointerId);
    undone.push([pen.getImageData(0, 0, paper.width, paper.height), source, isEmpty]);
    undone = undone.slice(-20);
    [source, isEmpty] = [null, false];
    pen.strokeStyle = pen.fillStyle =
      channels === 3 ? ink.value : dark.checked ? "#fff" : "#000";
    pen.lineWidth = Number(byId("brush").value);
    pen.lineCap = pen.lineJoin = "round";
    stroke = new Path2D();
    stroke.moveTo(...place(event));
    draw(event);
  });
  paper.addEventListener("pointermove", (event) => stroke && draw(event));
  for (const end of ["pointerup", "pointercancel"])
    paper.addEventListener(end, () => {
      if (stroke && fill.checked) pen.fill(stroke);
      stroke = null;
      updateSoon();
    });
  function undo() {
    if (!undone.length) return;
    const [pixels, before, wasEmpty] = undone.pop();
    pen.putImageData(pixels, 0, 0);
    [source, isEmpty] = [before, wasEmpty];
    updateSoon();
  }

  // The camera: its middle, on the pad, picture after picture.
  let stream = null;
  const video = document.createElement("video");
  const camera = byId("camera");
  camera.hidden = !navigator.mediaDevices?.getUserMedia;
  function stopCamera() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    camera.textContent = "Camera";
  }
  function followCamera() {
    if (!stream) return;
    const { videoWidth: w, videoHeight: h } = video;
    const part = Math.min(w / paper.width, h / paper.height);
    const size = [paper.width * part, paper.height * part];
    pen.drawImage(video, (w - size[0]) / 2, (h - size[1]) / 2, ...size, 0, 0, paper.width, paper.height);
    isEmpty = false;
    update();
    setTimeout(followCamera, 60);
  }
  camera.addEventListener("click", async () => {
    if (stream) return stopCamera(); // the last picture stays
    try {
      const wanted = { video: { facingMode: "environment" } };
      const opened = await navigator.mediaDevices.getUserMedia(wanted);
      clear();
      stream = opened;
      video.srcObject = stream;
      video.playsInline = video.muted = true;
      await video.play();
      camera.textContent = "Keep this picture";
      followCamera();
    } catch (error) {
      stopCamera();
      announce(`The camera cannot be used: ${error.message}`);
    }
  });

  byId("file").addEventListener("change", ({ target }) => {
    if (target.files[0]) open(target.files[0]);
    target.value = "";
  });
  addEventListener("paste", ({ clipboardData }) => {
    const file = [...clipboardData.files].find((item) => item.type.startsWith("image/"));
    if (file) open(file);
    else announce("There is no picture in the clipboard.");
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
  addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z") undo();
  });
  byId("clear").addEventListener("click", clear);
  byId("undo").addEventListener("click", undo);
  cut.addEventListener("change", updateSoon);
  dark.addEventListener("change", () => {
    ink.value = dark.checked ? "#ffffff" : "#000000";
    clear();
  });
  ink.value = dark.checked ? "#ffffff" : "#000000";
  clear();
}
