/** What a person who labels asks of the API: photos to look at, and what becomes of the answers. */

import { Problem, json, listModels, send } from './api.js';
import { photoType } from './files.js';
import { isSigned, signature } from './signed.js';
import { INLINE_BYTES, settledPrediction, upload, uploadForPending } from './upload.js';

/**
 * @typedef {import('./api.js').Model} Model
 * @typedef {{id: string, model: string, version: number, classNames: string[],
 *            detections: import('./api.js').Detection[], size: {width: number, height: number},
 *            image: string, fileName: string}} Task a photo with the boxes that were predicted
 */

/**
 * List the models, and those that are still to come.
 * @returns {Promise<Model[]>}
 * @throws {Problem}
 */
export async function listAllModels() {
  const models = await listModels();
  const known = new Set(models.map(({ name }) => name));
  const pending = await listPending();
  return [...models, ...pending.filter(({ name }) => !known.has(name))];
}

/** Without those to come there is work enough, so a failure here is none. */
async function listPending() {
  try {
    const answer = await json('v1/pending-models');
    return answer.models.map((model) => ({ ...model, live_version: null }));
  } catch {
    return [];
  }
}

/** A model that is still to come has no photos to hand out: there, it is not found. */
const NONE_WAITS = ['no-task', 'model-not-found'];

/**
 * Ask for a photo that waits for somebody to look at it.
 * @param {string} model
 * @returns {Promise<?string>} a prediction's id; null: none waits
 * @throws {Problem}
 */
export async function nextPhoto(model) {
  try {
    return (await send(`v1/models/${encodeURIComponent(model)}/tasks`, {})).prediction_id;
  } catch (problem) {
    const isForMembers = problem.kind === 'unauthorized' && !isSigned();
    if (isForMembers || NONE_WAITS.includes(problem.kind)) return null;
    throw problem;
  }
}

/**
 * Have a photo looked at and kept, so that its boxes can be corrected.
 * @param {Model} model
 * @param {File} photo
 * @param {{confidence?: number}} options of the detector
 * @param {(step: string) => void} tell is told what is being done
 * @param {AbortSignal} signal
 * @returns {Promise<string>} the prediction's id
 * @throws {Problem}
 */
export async function keepPhoto(model, photo, options, tell, signal) {
  const type = await photoType(photo);
  const name = encodeURIComponent(model.name);
  const isPending = model.live_version === null;
  if (photo.size <= INLINE_BYTES) {
    if (!isPending) tell('Looking …');
    const query = new URLSearchParams({ ...options, keep: true });
    const path = isPending ? `v1/pending-models/${name}/images` : `v1/models/${name}/detections?${query}`;
    try {
      return await post(path, photo, type, signal);
    } catch (problem) {
      if (problem.status !== 413) throw problem;
    }
  }
  const uploaded = isPending
    ? uploadForPending(model.name, photo, type, signal, tell)
    : upload(model.name, photo, type, options, signal, tell);
  return (await uploaded).prediction_id;
}

async function post(path, photo, type, signal) {
  const headers = { 'Content-Type': type, Accept: 'application/json', ...signature() };
  const { prediction_id: id } = await json(path, { method: 'POST', body: photo, headers, signal });
  if (id) return id;
  throw new Problem({ title: 'Not kept', detail: 'The service looked at the photo and did not keep it.' });
}

/**
 * Fetch a prediction with all that is needed to label its photo.
 * @param {string} id
 * @param {AbortSignal} signal
 * @returns {Promise<Task>}
 * @throws {Problem}
 */
export async function fetchTask(id, signal) {
  const prediction = await settledPrediction(id, signal);
  const { model, result } = prediction;
  return {
    id,
    model,
    version: result.version,
    classNames: await classesOf(model, result.version),
    detections: result.detections,
    size: result.image,
    image: prediction.links.image,
    fileName: prediction.file_name || 'photo',
  };
}

async function classesOf(model, version) {
  return (await ofModel(model, version, json)).class_names;
}

/** Ask of a model that had no version, and of that it is by now: it may have got one meanwhile. */
async function ofModel(model, version, act) {
  const name = encodeURIComponent(model);
  if (!version) {
    try {
      return await act(`v1/pending-models/${name}`);
    } catch (problem) {
      if (problem.kind !== 'model-not-found') throw problem;
    }
  }
  return act(`v1/models/${name}`);
}

/**
 * Fetch the link to a prediction's photo anew: it is good for an hour.
 * @param {string} id
 * @returns {Promise<string>}
 * @throws {Problem}
 */
export async function imageLink(id) {
  return (await json(`v1/predictions/${encodeURIComponent(id)}`)).links.image;
}

/**
 * Send an answer.
 * @param {Task} task
 * @param {'corrected' | 'confirmed' | 'empty'} answer
 * @param {import('./draft.js').LabelBox[]} boxes
 * @returns {Promise<object>} what became of it
 * @throws {Problem}
 */
export function submit(task, answer, boxes) {
  return ofModel(task.model, task.version, (path) => send(`${path}/submissions`, {
    prediction_id: task.id,
    answer,
    boxes: answer === 'corrected' ? boxes.map(sent) : [],
  }));
}

function sent({ classId, className, x1, y1, x2, y2 }) {
  return { class_id: classId, class_name: className, box: { x1, y1, x2, y2 } };
}
