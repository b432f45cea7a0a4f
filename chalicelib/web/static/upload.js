/** The way of large photos: a form that the bucket takes, then the queue, then the answer. */

import { OPTIONS, Problem, json, send as sendJson } from './api.js';
import { sleep } from './busy.js';
import { bytes } from './words.js';

/** What one call carries; a larger photo goes through the bucket. */
export const INLINE_BYTES = 4_500_000;

const FIRST_POLL_MS = 250;
const LONGEST_POLL_MS = 2000;
const PATIENCE_MS = 180_000;

/**
 * Detect in a photo that is too large for one call.
 * @param {string} model
 * @param {File} photo
 * @param {string} type its media type
 * @param {AbortSignal} signal
 * @param {(step: string) => void} tell is told what is being done
 * @returns {Promise<import('./api.js').Answer>}
 * @throws {Problem}
 */
export async function detectByUpload(model, photo, type, signal, tell) {
  return (await upload(model, photo, type, OPTIONS, signal, tell)).result;
}

/**
 * Upload a photo and wait until a model looked at it.
 * @param {string} model
 * @param {File} photo
 * @param {string} type its media type
 * @param {object} options of the detector
 * @param {AbortSignal} signal
 * @param {(step: string) => void} tell is told what is being done
 * @returns {Promise<object>} the prediction, which is kept for some time
 * @throws {Problem}
 */
export async function upload(model, photo, type, options, signal, tell) {
  tell('Asking for a place to upload to …');
  const wanted = { model, ...told(photo, type), options };
  return throughForm(await sendJson('v1/uploads', wanted, signal), photo, signal, tell);
}

/**
 * Upload a photo for a model that has no version yet, and wait until it can be labelled.
 * @param {string} model
 * @param {File} photo
 * @param {string} type its media type
 * @param {AbortSignal} signal
 * @param {(step: string) => void} tell is told what is being done
 * @returns {Promise<object>} the prediction, in which nothing is found
 * @throws {Problem}
 */
export async function uploadForPending(model, photo, type, signal, tell) {
  tell('Asking for a place to upload to …');
  const path = `v1/pending-models/${encodeURIComponent(model)}/uploads`;
  return throughForm(await sendJson(path, told(photo, type), signal), photo, signal, tell);
}

function told(photo, type) {
  return { file_name: photo.name.slice(-255), content_type: type };
}

async function throughForm(ticket, photo, signal, tell) {
  refuseIfTooLarge(photo, ticket.upload.max_bytes);
  await sendForm(ticket.upload, photo, signal, tell);
  tell('Uploaded. In the queue …');
  return settledPrediction(ticket.prediction_id, signal);
}

/**
 * @param {File} photo or any other file
 * @param {number} most bytes
 * @throws {Problem}
 */
export function refuseIfTooLarge(photo, most) {
  if (photo.size <= most) return;
  throw new Problem({
    title: 'Too large',
    detail: `This file has ${bytes(photo.size)}; ${bytes(most)} is the most that is taken.`,
    status: 413,
  });
}

/**
 * Send a form; with XMLHttpRequest, because fetch does not tell how far an upload is.
 * @param {{url: string, fields: Object<string, string>}} form
 * @param {File} photo or any other file
 * @param {AbortSignal} signal
 * @param {(step: string) => void} tell is told how far it is
 * @returns {Promise<void>}
 * @throws {Problem}
 */
export function sendForm(form, photo, signal, tell) {
  const body = new FormData();
  for (const [name, value] of Object.entries(form.fields)) body.append(name, value);
  body.append('file', photo);
  const size = bytes(photo.size);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', form.url);
    request.upload.onprogress = ({ loaded, total }) => {
      tell(`Uploading ${size}: ${Math.floor((loaded / total) * 100)}\u202f%`);
    };
    request.onload = () => {
      if (request.status < 300) resolve();
      else reject(refusal(request));
    };
    request.onerror = () => reject(unreachable(new URL(form.url).host));
    request.onabort = () => reject(new DOMException('stopped', 'AbortError'));
    signal.addEventListener('abort', () => request.abort(), { once: true });
    request.send(body);
  });
}

/** A browser does not tell why: no network, or a storage that lets no page send to it. */
function unreachable(host) {
  return new Problem({
    title: 'The upload failed',
    detail: `The storage at ${host} could not be reached, or takes no uploads from this page.`,
    retry: true,
  });
}

function refusal(request) {
  const [, code] = request.responseText.match(/<Code>(\w+)<\/Code>/) ?? [];
  return new Problem({
    title: 'The upload was refused',
    detail: `The storage answered ${code ?? `with status ${request.status}`}.`,
    retry: true,
  });
}

/**
 * Ask for a prediction until it is done, more and more seldom.
 * @param {string} id
 * @param {AbortSignal} signal
 * @returns {Promise<object>}
 * @throws {Problem} it failed, or takes too long
 */
export async function settledPrediction(id, signal) {
  const until = performance.now() + PATIENCE_MS;
  for (let pause = FIRST_POLL_MS; performance.now() < until; pause *= 1.3) {
    const prediction = await json(`v1/predictions/${encodeURIComponent(id)}`, { signal });
    if (prediction.state === 'done') return prediction;
    if (prediction.state === 'failed') throw new Problem(prediction.problem);
    await sleep(Math.min(pause, LONGEST_POLL_MS), signal);
  }
  throw new Problem({
    title: 'Still in the queue',
    detail: `The photo was uploaded, but no answer came in ${PATIENCE_MS / 60_000} minutes.`,
    retry: true,
  });
}
