// The page: it asks for a frame, draws it, and asks again. Zoom and pan are the same for all images.
import { Panel } from "./panel.js";
import { number, bytes, milliseconds } from "./text.js";

const RETRY_MS = 1000;
const SLOW_S = 3; // a frame that takes longer is worth a word
const RATE_FRAMES = 20; // over how many frames the rate is measured
const find = (id) => document.getElementById(id);

// What is seen of the image: its left upper corner and size, as shares of the image.
const view = { x: 0, y: 0, w: 1 };
const manual = {}; // contrast by "channel/output"
const panels = new Map();
const times = [];
let socket = null;
let asked = 0; // the newest request
let drawn = 0; // the newest answer that is drawn
let shown = null; // facts of the frame that is drawn
let after = -1; // its number
let held = false;
let pausedAt = 0; // the request after the last click on Pause
let channel = "";
let drawing = false;

if (location.search) history.replaceState(null, "", location.pathname); // the token stays out of sight

function connect() {
  socket = new WebSocket(`ws://${location.host}/frames`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    after = -1; // it may be another restoration
    ask();
  };
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") answer(JSON.parse(data));
    else frame(data).catch(() => setTimeout(ask, RETRY_MS)); // no memory for a picture, perhaps
  };
  socket.onclose = () => {
    state("lost", "no connection");
    setTimeout(connect, RETRY_MS);
  };
}

function send(message) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function ask() {
  const first = panels.values().next().value;
  const box = [view.x, view.y, view.x + view.w, view.y + view.w];
  const size = first ? first.size() : [512, 512];
  send({ ask: "frame", id: ++asked, after, hold: held, channel, box, size, manual });
}

// A hidden page does not draw, so it does not ask either.
function askWhenDrawn() {
  requestAnimationFrame(() => {
    redraw();
    ask();
  });
}

function answer(message) {
  if (message.status) show(message.status, message.id);
  if (message.snapshot) {
    const { files, error } = message.snapshot;
    toast(error ?? `Saved ${files.join(", ")}`, Boolean(error));
  }
  if (message.id === asked) askWhenDrawn();
}

async function frame(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let start = 4 + length;
  const pictures = facts.pictures.map((picture) => {
    const blob = new Blob([new Uint8Array(buffer, start, picture.bytes)], { type: "image/jpeg" });
    start += picture.bytes;
    return createImageBitmap(blob).then((bitmap) => ({ ...picture, bitmap }));
  });
  const decoded = await Promise.all(pictures);
  if (facts.id < drawn) return; // overtaken by a later one
  drawn = facts.id;
  if (facts.number !== shown?.number) rate();
  if (facts.number < (shown?.number ?? 0)) times.length = 0; // another restoration
  shown = facts;
  after = facts.number;
  arrange(decoded);
  offer(facts.channel);
  find("number").textContent = number(facts.number);
  find("latency").textContent = milliseconds(facts.latency_ms);
  show(facts.status, facts.id);
  if (facts.id === asked) askWhenDrawn();
}

// A panel for each image; those of outputs that a frame does not have stay, dimmed.
function arrange(pictures) {
  for (const picture of pictures) {
    if (!panels.has(picture.name)) {
      if (!panels.size) find("panels").replaceChildren();
      const panel = new Panel(picture.name, view, { changed, point, contrast });
      panels.set(picture.name, panel);
      find("panels").append(panel.section);
    }
    panels.get(picture.name).take(picture, shown);
  }
  const names = new Set(pictures.map((picture) => picture.name));
  for (const [name, panel] of panels) panel.section.classList.toggle("stale", !names.has(name));
  document.documentElement.style.setProperty("--panels", panels.size);
  const [height, width] = pictures[0].shape;
  document.documentElement.style.setProperty("--aspect", width / height);
}

function redraw() {
  drawing = false;
  for (const panel of panels.values()) panel.draw();
}

function draw() {
  if (!drawing) requestAnimationFrame(redraw);
  drawing = true;
}

// Zoom or pan: what is there moves at once, the sharper picture follows.
function changed() {
  const least = Math.min(1, 16 / (shown?.pictures[0].shape[1] ?? 16));
  view.w = Math.min(1, Math.max(least, view.w));
  view.x = Math.min(1 - view.w, Math.max(0, view.x));
  view.y = Math.min(1 - view.w, Math.max(0, view.y));
  draw();
  ask();
}

function point(at) {
  for (const panel of panels.values()) panel.pointer = at;
  draw();
}

function contrast(name, limits) {
  const key = `${shown.channel}/${name}`;
  if (limits) manual[key] = limits;
  else delete manual[key];
  ask();
}

// A button for each channel, once there are several.
function offer(name) {
  const group = find("channels");
  const known = [...group.children].map((button) => button.dataset.channel);
  if (!known.includes(name)) {
    const button = document.createElement("button");
    button.textContent = name || "no name";
    button.dataset.channel = name;
    button.onclick = () => {
      channel = channel === name ? "" : name;
      for (const other of group.children) other.setAttribute("aria-pressed", String(other.dataset.channel === channel));
      ask();
    };
    group.insertBefore(button, [...group.children].find((other) => other.dataset.channel > name) ?? null);
  }
  group.hidden = group.children.length < 2;
}

function show(status, id) {
  for (const name of ["seen", "done", "replaced", "failed"]) find(name).textContent = number(status[name]);
  find("failed").classList.toggle("bad", status.failed > 0);
  find("p50").textContent = milliseconds(status.latency_p50_ms);
  find("p99").textContent = milliseconds(status.latency_p99_ms);
  find("disk").textContent = status.disk_free_bytes === undefined ? "–" : `${bytes(status.disk_free_bytes)} free`;
  find("disk").classList.toggle("warn", status.disk_free_bytes < 10e9);
  find("camera").textContent = status.camera_fps ? `${status.camera_fps.toFixed(1)} / s` : "–";
  find("camera").parentElement.hidden = status.camera_fps === undefined;
  find("error").textContent = status.error ?? "";
  find("error").hidden = !status.error;
  find("snapshot").disabled = !status.can_snapshot || !shown;
  // Another page may have paused it; answers from before a click here do not know of it.
  if (id >= pausedAt && Boolean(status.paused) !== held) hold(Boolean(status.paused));
  if (held) state("paused", "paused");
  else if (status.busy_s > SLOW_S) state("paused", `this frame takes ${Math.round(status.busy_s)} s so far`);
  else state("live", shown ? "live" : "waiting");
}

function state(kind, text) {
  find("light").className = `light ${kind}`;
  find("state").textContent = text;
}

function hold(paused) {
  held = paused;
  find("pause").textContent = paused ? "Resume" : "Pause";
  find("pause").setAttribute("aria-pressed", String(paused));
}

function rate() {
  times.push(performance.now());
  if (times.length > RATE_FRAMES) times.shift();
  const seconds = (times.at(-1) - times[0]) / 1000;
  find("rate").textContent = times.length > 2 ? `${((times.length - 1) / seconds).toFixed(1)} / s` : "–";
}

let toastTimer = 0;
function toast(text, bad) {
  find("toast").textContent = text;
  find("toast").className = `seen${bad ? " bad" : ""}`;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (find("toast").className = ""), 5000);
}

function zoom(factor, at = [0.5, 0.5]) {
  const w = view.w / factor;
  Object.assign(view, { x: view.x + at[0] * (view.w - w), y: view.y + at[1] * (view.w - w), w });
  changed();
}

const actions = {
  fit: () => (Object.assign(view, { x: 0, y: 0, w: 1 }), changed()),
  snapshot: () => !find("snapshot").disabled && send({ ask: "snapshot" }),
  pause: () => {
    hold(!held);
    times.length = 0;
    send({ ask: "pause", paused: held });
    ask();
    pausedAt = asked;
  },
};
const keys = { " ": "pause", s: "snapshot", 0: "fit" };
for (const id of Object.keys(actions)) find(id).onclick = actions[id];
addEventListener("keydown", (event) => {
  if (event.target.matches("input, button") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (keys[event.key]) (event.preventDefault(), actions[keys[event.key]]());
  if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1.5 : 1 / 1.5);
});
addEventListener("resize", draw);
find("channels").hidden = true;
connect();
