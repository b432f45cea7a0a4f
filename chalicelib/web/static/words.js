/** How numbers and names are put into words. */

const SIBILANT = /(s|x|z|ch|sh)$/i;
const CONSONANT_Y = /[^aeiou]y$/i;
const MINUTE = 60;

/**
 * Put a class name into the plural, as English mostly does it.
 * @param {string} name
 * @returns {string}
 */
export function plural(name) {
  if (SIBILANT.test(name)) return `${name}es`;
  if (CONSONANT_Y.test(name)) return `${name.slice(0, -1)}ies`;
  return `${name}s`;
}

/**
 * Say how many there are, such as `3 scratches`.
 * @param {number} count
 * @param {string} name
 * @returns {string}
 */
export function counted(count, name) {
  return `${count} ${count === 1 ? name : plural(name)}`;
}

/**
 * Make a whole sentence of what a problem says.
 * @param {string} text
 * @returns {string}
 */
export function sentence(text) {
  const start = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}

/**
 * Join names with commas and a last word.
 * @param {string[]} names
 * @param {string} [last]
 * @returns {string}
 */
export function joined(names, last = 'and') {
  if (names.length < 2) return names.join('');
  return `${names.slice(0, -1).join(', ')} ${last} ${names.at(-1)}`;
}

/**
 * Say what was found, by class: `2 scratches and 1 dent`, or `Nothing`.
 * @param {import('./api.js').Detection[]} detections
 * @returns {string}
 */
export function summary(detections) {
  const parts = [...countByClass(detections)].map(([name, count]) => counted(count, name));
  if (parts.length > 3) return counted(detections.length, 'thing');
  return joined(parts) || 'Nothing';
}

/**
 * Count detections by class, the most frequent first.
 * @param {import('./api.js').Detection[]} detections
 * @returns {Map<string, number>}
 */
export function countByClass(detections) {
  const counts = new Map();
  for (const { class_name: name } of detections) counts.set(name, (counts.get(name) ?? 0) + 1);
  return new Map([...counts].sort((a, b) => b[1] - a[1]));
}

/**
 * A share of one, in whole percent; what is below 100 % never reads as 100 %.
 * @param {number} share
 * @returns {string}
 */
export function percent(share) {
  const whole = share < 1 ? Math.min(Math.round(share * 100), 99) : 100;
  return `${whole}\u202f%`;
}

/**
 * @param {number} ms
 * @returns {string} with two digits that matter
 */
export function duration(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
  return `${ms < 9.95 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/**
 * How long something takes, in the two largest units that matter.
 * @param {number} seconds
 * @returns {string}
 */
export function lapse(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 1.5 * MINUTE) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / MINUTE);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} days ${hours % 24} h` : `${days} days`;
}

/**
 * @param {number} size in bytes
 * @returns {string}
 */
export function bytes(size) {
  if (size >= 1e6) return `${(size / 1e6).toFixed(1)} MB`;
  return `${Math.max(1, Math.round(size / 1e3))} kB`;
}

/**
 * A file's name without its ending.
 * @param {string} name
 * @returns {string}
 */
export function stem(name) {
  return name.replace(/\.[^.]{1,5}$/, '') || 'photo';
}
