/** What can be saved: the boxes that are shown as JSON, and the photo with them drawn in. */

import { labelOf } from './boxes.js';
import { HALO, colourOf } from './palette.js';
import { stem } from './words.js';

const RELATIVE_LINE = 1 / 320;
const RELATIVE_TEXT = 1 / 42;
const JPEG_QUALITY = 0.92;
const LOSSLESS = new Set(['image/png', 'image/bmp']);

/**
 * The API's answer, with the detections that are shown alone.
 * @param {import('./work.js').Photo} photo
 * @param {number} confidence above which they are
 * @returns {object}
 */
export function shownAnswer(photo, confidence) {
  const { answer } = photo;
  const detections = answer.detections.filter((each) => each.confidence > confidence);
  return { name: photo.name, ...answer, confidence, detections };
}

/**
 * Save an object as a JSON file.
 * @param {object} what
 * @param {string} name of the file
 */
export function saveJson(what, name) {
  const text = `${JSON.stringify(what, null, 2)}\n`;
  save(new Blob([text], { type: 'application/json' }), name);
}

/**
 * Save a photo, upright and in all its pixels, with the boxes that are shown.
 * @param {import('./work.js').Photo} photo
 * @param {number} confidence
 * @throws {Error} this browser cannot draw the photo
 */
export async function savePicture(photo, confidence) {
  const { detections } = shownAnswer(photo, confidence);
  const canvas = await canvasOf(photo);
  drawBoxes(canvas.getContext('2d'), canvas, detections);
  const type = LOSSLESS.has(photo.file.type) ? 'image/png' : 'image/jpeg';
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve, type, JPEG_QUALITY); });
  if (!blob) throw new Error('this browser cannot hold a picture of that size');
  save(blob, `${stem(photo.name)}-boxes.${type === 'image/png' ? 'png' : 'jpg'}`);
}

/** The size is the answer's, which the boxes refer to; a bitmap is upright as that is. */
async function canvasOf(photo) {
  const bitmap = await createImageBitmap(photo.file);
  const canvas = document.createElement('canvas');
  canvas.width = photo.answer.image.width;
  canvas.height = photo.answer.image.height;
  canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}

function drawBoxes(pen, { width, height }, detections) {
  const side = Math.max(width, height);
  const line = Math.max(Math.round(side * RELATIVE_LINE), 1.5);
  const text = Math.max(Math.round(side * RELATIVE_TEXT), 11);
  pen.lineJoin = 'round';
  pen.font = `600 ${text}px "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif`;
  pen.textBaseline = 'middle';
  for (const detection of detections.toReversed()) drawBox(pen, detection, line);
  for (const detection of detections.toReversed()) drawLabel(pen, detection, line, text, width);
}

function drawBox(pen, { class_id: classId, box }, line) {
  for (const [colour, width] of [[HALO, line * 2.2], [colourOf(classId), line]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.strokeRect(box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1);
  }
}

/** A label sits on its box's upper edge; within where there is no room above. */
function drawLabel(pen, detection, line, text, width) {
  const { box } = detection;
  const label = labelOf(detection);
  const room = pen.measureText(label).width + text * 0.8;
  const high = text * 1.45;
  const x = Math.max(Math.min(box.x1 - line / 2, width - room), 0);
  const y = box.y1 - high < 0 ? box.y1 + line / 2 : box.y1 - high;
  pen.fillStyle = colourOf(detection.class_id);
  pen.fillRect(x, y, room, high);
  pen.fillStyle = HALO;
  pen.fillText(label, x + text * 0.4, y + high / 2 + text * 0.05);
}

function save(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
