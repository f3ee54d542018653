// Numbers as people read them.
export const number = (value) => (value === undefined || value === null ? "–" : value.toLocaleString("en-US"));

// As fine as a contrast of this range needs it.
export function counts(value, range) {
  const digits = Math.max(0, 2 - Math.floor(Math.log10(range)));
  return Number(value.toFixed(Math.min(digits, 20))) + 0; // + 0: never -0
}

export function milliseconds(value) {
  if (value === undefined || value === null) return "–";
  return value < 1000 ? `${value < 10 ? value.toFixed(1) : Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}

export function bytes(value) {
  const tera = value >= 1e12;
  return `${(value / (tera ? 1e12 : 1e9)).toFixed(tera || value < 1e10 ? 1 : 0)} ${tera ? "TB" : "GB"}`;
}

// 1, 2 or 5 times a power of ten, at most the given length.
export function roundLength(length) {
  const power = 10 ** Math.floor(Math.log10(length));
  return [5, 2, 1].find((digit) => digit * power <= length) * power;
}
