// One image: its picture, its histogram, its contrast.
import { counts, roundLength } from "./text.js";

const SHARP = 2; // from this enlargement on, pixels are drawn as squares
const REACH = 0.5; // from one border to the other, which one the pointer takes

export class Panel {
  // `view` is what is seen, the same for all panels; `on` has what the page does after a change.
  constructor(name, view, on) {
    this.name = name;
    this.view = view;
    this.on = on;
    this.pointer = null;
    this.section = document.getElementById("panel").content.firstElementChild.cloneNode(true);
    this.section.dataset.name = name;
    const find = (part) => this.section.querySelector(`.${part}`);
    [this.image, this.histogram, this.low, this.high, this.auto] = ["image", "histogram", "low", "high", "auto"].map(find);
    this.facts = find("facts");
    find("name").textContent = name;
    this.image.setAttribute("aria-label", `${name} image: wheel zooms, drag moves`);
    this.move();
    this.adjust();
  }

  size() {
    const scale = devicePixelRatio;
    return [Math.round(this.image.clientWidth * scale), Math.round(this.image.clientHeight * scale)];
  }

  take(picture, frame) {
    this.picture?.bitmap.close();
    this.picture = picture;
    const [height, width] = picture.shape;
    // The field is the same, so a finer image has smaller pixels.
    const raw = frame.pictures[0].shape[1];
    this.pixelUm = frame.details.pixel_size_um ? (frame.details.pixel_size_um * raw) / width : null;
    const size = document.createElement("span");
    size.className = "more";
    size.textContent = this.pixelUm ? ` · ${Number((1000 * this.pixelUm).toPrecision(3))} nm` : "";
    this.facts.replaceChildren(`${width} × ${height}`, size);
    for (const [input, value] of [[this.low, picture.low], [this.high, picture.high]])
      if (document.activeElement !== input) input.value = counts(value, picture.high - picture.low);
    this.auto.setAttribute("aria-pressed", String(picture.auto));
  }

  draw() {
    if (!this.picture) return;
    this.drawImage();
    this.drawHistogram();
  }

  drawImage() {
    const { bitmap, box, shape } = this.picture;
    const [width, height] = this.size();
    if (this.image.width !== width) this.image.width = width;
    if (this.image.height !== height) this.image.height = height;
    const pen = this.image.getContext("2d");
    const x = (share) => ((share - this.view.x) / this.view.w) * width;
    const y = (share) => ((share - this.view.y) / this.view.w) * height;
    pen.clearRect(0, 0, width, height);
    pen.imageSmoothingEnabled = width / (this.view.w * shape[1]) < SHARP;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(bitmap, x(box[0]), y(box[1]), x(box[2]) - x(box[0]), y(box[3]) - y(box[1]));
    if (this.pointer) this.drawCross(pen, x(this.pointer[0]), y(this.pointer[1]));
    if (this.pixelUm) this.drawScale(pen, width, height, shape[1] * this.pixelUm * this.view.w);
  }

  drawCross(pen, x, y) {
    const arm = 9 * devicePixelRatio;
    pen.strokeStyle = "#5cc8b4";
    pen.lineWidth = devicePixelRatio;
    pen.beginPath();
    for (const [dx, dy] of [[arm, 0], [0, arm]]) {
      pen.moveTo(x - dx, y - dy);
      pen.lineTo(x + dx, y + dy);
    }
    pen.stroke();
  }

  drawScale(pen, width, height, fieldUm) {
    const length = roundLength(fieldUm / 4);
    const [unit, edge] = [devicePixelRatio, 14 * devicePixelRatio];
    const across = (length / fieldUm) * width;
    pen.fillStyle = "#000a"; // behind it, for bright images
    pen.fillRect(width - edge - across - 6 * unit, height - edge - 20 * unit, across + 12 * unit, 28 * unit);
    pen.fillStyle = "#fff";
    pen.fillRect(width - edge - across, height - edge, across, 3 * unit);
    pen.font = `${12 * unit}px system-ui, sans-serif`;
    pen.textAlign = "center";
    const text = length < 1 ? `${Math.round(1000 * length)} nm` : `${length} µm`;
    pen.fillText(text, width - edge - across / 2, height - edge - 6 * unit);
  }

  drawHistogram() {
    const canvas = this.histogram;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * devicePixelRatio));
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const pen = canvas.getContext("2d");
    const bars = this.picture.histogram;
    // Square roots: rare bright pixels are what one looks for.
    const tallest = Math.sqrt(Math.max(...bars, 1));
    const [low, high] = [this.picture.low, this.picture.high].map((value) => this.across(value) * width);
    pen.clearRect(0, 0, width, height);
    pen.fillStyle = "#8494a3";
    bars.forEach((count, i) => {
      const bar = (Math.sqrt(count) / tallest) * (height - 6 * devicePixelRatio);
      pen.fillRect((i * width) / bars.length, height - bar, width / bars.length + 0.5, bar);
    });
    pen.fillStyle = "#0e1216b0";
    pen.fillRect(0, 0, low, height);
    pen.fillRect(high, 0, width - high, height);
    pen.fillStyle = "#5cc8b4";
    for (const at of [low, high]) pen.fillRect(Math.min(Math.max(at, 1), width - 1) - devicePixelRatio, 0, 2 * devicePixelRatio, height);
  }

  // Where counts are in the histogram, 0 to 1, and back.
  across(value) {
    const [begin, end] = this.picture.histogram_range;
    return (value - begin) / (end - begin);
  }

  countsAt(event) {
    const [begin, end] = this.picture.histogram_range;
    const { left, width } = this.histogram.getBoundingClientRect();
    return begin + Math.min(1, Math.max(0, (event.clientX - left) / width)) * (end - begin);
  }

  // Wheel zooms about the pointer, dragging moves, a double click shows everything.
  move() {
    const share = (event) => {
      const { left, top, width, height } = this.image.getBoundingClientRect();
      return [(event.clientX - left) / width, (event.clientY - top) / height];
    };
    const { view, image, on } = this;
    image.addEventListener("wheel", (event) => {
      event.preventDefault();
      const [x, y] = share(event);
      const w = Math.min(1, view.w * Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 250));
      Object.assign(view, { x: view.x + x * (view.w - w), y: view.y + y * (view.w - w), w });
      on.changed();
    }, { passive: false });
    image.onpointerdown = (event) => {
      image.setPointerCapture(event.pointerId);
      image.classList.add("panning");
    };
    image.onpointermove = (event) => {
      const [x, y] = share(event);
      if (image.hasPointerCapture(event.pointerId)) {
        view.x -= (event.movementX / image.clientWidth) * view.w;
        view.y -= (event.movementY / image.clientHeight) * view.w;
        on.changed();
      }
      on.point([view.x + x * view.w, view.y + y * view.w]);
    };
    image.onpointerup = image.onpointercancel = () => image.classList.remove("panning");
    image.onpointerleave = () => on.point(null);
    image.ondblclick = () => (Object.assign(view, { x: 0, y: 0, w: 1 }), on.changed());
  }

  adjust() {
    const { histogram, low, high } = this;
    let border = null; // the one that is dragged
    const set = (a, b) => {
      if (!(Number.isFinite(a) && Number.isFinite(b) && b > a)) return;
      Object.assign(this.picture, { low: a, high: b });
      this.drawHistogram();
      this.on.contrast(this.name, [a, b]);
    };
    const drag = (event) => {
      const value = this.countsAt(event);
      if (border === "low") set(value, this.picture.high);
      else set(this.picture.low, value);
    };
    histogram.onpointerdown = (event) => {
      histogram.setPointerCapture(event.pointerId);
      const { low: a, high: b } = this.picture;
      border = this.countsAt(event) < a + REACH * (b - a) ? "low" : "high";
      drag(event);
    };
    histogram.onpointermove = (event) => histogram.hasPointerCapture(event.pointerId) && drag(event);
    low.onchange = high.onchange = () => set(low.valueAsNumber, high.valueAsNumber);
    this.auto.onclick = () => this.on.contrast(this.name, this.picture.auto ? [this.picture.low, this.picture.high] : null);
  }
}
