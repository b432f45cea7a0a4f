/** Colours of the classes: all light, so that they stand out from the dark halo that goes with them. */

const MARKS = [
  '#ffd60a', '#5ee6ff', '#ff9ad5', '#b4f461', '#ffab57',
  '#cbb2ff', '#6df5c6', '#ff9c8f', '#9ccaff', '#f2efdf',
];
const GOLDEN_ANGLE = 137.508;

/** What lies around and between, so that a mark is seen on any photo. */
export const HALO = '#0b1512';

/**
 * @param {number} classId
 * @returns {string} a CSS colour
 */
export function colourOf(classId) {
  return MARKS[classId] ?? `hsl(${Math.round(classId * GOLDEN_ANGLE) % 360} 95% 76%)`;
}
