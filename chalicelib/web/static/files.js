/** What a file is, judged by its first bytes: names and types given by systems are often wrong. */

import { Problem } from './api.js';

const THUMBNAIL_HEIGHT = 144;

const READABLE = [
  ['image/jpeg', 'ffd8ff'],
  ['image/png', '89504e470d0a1a0a'],
  ['image/webp', '52494646........57454250'],
  ['image/bmp', '424d'],
];
const KNOWN = [
  ['PDF document', '25504446'],
  ['GIF', '47494638'],
  ['HEIC photo', '........66747970(686569|6d6966|686576|6d7366)'],
  ['AVIF picture', '........6674797061766966'],
  ['TIFF picture', '(49492a00|4d4d002a)'],
  ['video', '(........66747970|1a45dfa3)'],
  ['ZIP archive', '504b0304'],
];
const WAYS_OUT = {
  'PDF document': 'Take a screenshot of the page, or export it as JPEG or PNG, and add that.',
  'HEIC photo': 'Export it as JPEG and add that. (iPhone: Settings, Camera, Formats, Most Compatible.)',
  video: 'Save a single frame as JPEG or PNG and add that.',
  'ZIP archive': 'Unpack it and add the photos.',
};

/** A file that is no photo we can look at. */
export class NotAPhoto extends Problem {
  /**
   * @param {string} what it is
   * @param {string} [advice]
   */
  constructor(what, advice) {
    super({ title: 'Not a photo', detail: `${what}. JPEG, PNG, WebP and BMP can be looked at.` });
    this.wayOut = advice ?? 'Save it as JPEG or PNG and add that.';
  }

  get advice() {
    return this.wayOut;
  }
}

/**
 * Tell the media type of a photo.
 * @param {Blob} file
 * @returns {Promise<string>}
 * @throws {NotAPhoto}
 */
export async function photoType(file) {
  if (!file.size) throw new NotAPhoto('This file is empty', 'Copy it again from where it came from.');
  const start = await firstBytes(file);
  const readable = match(READABLE, start);
  if (readable) return readable;
  const known = match(KNOWN, start);
  if (known) throw new NotAPhoto(`This is a ${known}`, WAYS_OUT[known]);
  throw new NotAPhoto('This file is none that is known here, or it is broken');
}

async function firstBytes(file) {
  try {
    const start = new Uint8Array(await file.slice(0, 16).arrayBuffer());
    return Array.from(start, (byte) => byte.toString(16).padStart(2, '0')).join('');
  } catch {
    throw new NotAPhoto('This cannot be read: a folder, or a file that is gone', 'Add single files.');
  }
}

function match(table, start) {
  return table.find(([, pattern]) => new RegExp(`^${pattern}`).test(start))?.[0];
}

/**
 * Draw a small, upright copy, so that no more than one large photo is held decoded.
 * @param {Blob} file
 * @returns {Promise<?Blob>} null where this browser cannot show the file
 */
export async function thumbnail(file) {
  try {
    const options = { resizeHeight: THUMBNAIL_HEIGHT, resizeQuality: 'medium' };
    const small = await createImageBitmap(file, options);
    const canvas = document.createElement('canvas');
    canvas.width = small.width;
    canvas.height = small.height;
    canvas.getContext('2d').drawImage(small, 0, 0);
    small.close();
    return await new Promise((resolve) => { canvas.toBlob(resolve, 'image/jpeg', 0.8); });
  } catch {
    return null;
  }
}
