/**
 * The API. Addresses are relative to the page, which may lie below a path such as `/api/`.
 *
 * @typedef {{x1: number, y1: number, x2: number, y2: number}} Box in pixels of the upright photo
 * @typedef {{class_id: number, class_name: string, confidence: number, box: Box}} Detection
 * @typedef {{decode: number, preprocess: number, inference: number, postprocess: number}} Timing
 * @typedef {{model: string, version: number, image: {width: number, height: number},
 *            detections: Detection[], timing_ms: Timing}} Answer
 * @typedef {{name: string, class_names: string[], live_version: ?number}} Model
 */

import { fetchWithRetries } from './busy.js';
import { signature } from './signed.js';

/** The default of the API, which `tests/browser` holds this to. */
export const DEFAULT_CONFIDENCE = 0.25;

/** What is asked of the detector, once: everything above this is filtered here. */
export const OPTIONS = { confidence: 0.05, max_detections: 300 };

/** Why there is no answer, in words for a person. */
export class Problem extends Error {
  /**
   * @param {{title: string, detail: string, type?: string, status?: number, retry?: boolean,
   *          correlation_id?: string, faults?: {where: string, what: string}[]}} told
   */
  constructor(told) {
    super(told.detail);
    this.title = told.title;
    this.detail = told.detail;
    this.kind = (told.type ?? '').replace('urn:sightloop:problem:', '');
    this.faults = told.faults ?? [];
    this.status = told.status ?? 0;
    this.retry = told.retry ?? false;
    this.reference = told.correlation_id ?? '';
  }

  /** @returns {string} what to do about it */
  get advice() {
    if (this.status === 422 || this.status === 415) {
      return 'Open it in a photo program, save it again as JPEG or PNG, and add that.';
    }
    if (this.status === 404) return 'Pick another model, or reload the page to see what there is.';
    if (this.status === 413) return 'Save it smaller and add it again.';
    if (this.retry) return 'Your photo is still here: try again in a moment.';
    if (this.status >= 500) return 'Your photo is still here. If it happens again, report it.';
    return '';
  }
}

/** As many models as the API gives at once. */
const PAGE = 100;

/**
 * @returns {Promise<Model[]>} all that there are, by name
 * @throws {Problem}
 */
export async function listModels() {
  const models = [];
  for await (const page of pagesOfModels()) models.push(...page);
  return models;
}

/**
 * @returns {Promise<Model[]>} those that detect
 * @throws {Problem}
 */
export async function listServing() {
  return (await listModels()).filter(serves);
}

/**
 * @returns {Promise<?Model>} the first that detects; null: none does
 * @throws {Problem}
 */
export async function firstServing() {
  for await (const page of pagesOfModels()) {
    const found = page.find(serves);
    if (found) return found;
  }
  return null;
}

function serves(model) {
  return model.live_version !== null;
}

async function* pagesOfModels() {
  let after = null;
  do {
    const query = new URLSearchParams({ limit: PAGE, ...(after && { after }) });
    const { models, next } = await json(`v1/models?${query}`);
    yield models;
    after = next;
  } while (after);
}

/**
 * @param {string} name
 * @returns {Promise<object>} a model with the history of its versions
 * @throws {Problem}
 */
export function showModel(name) {
  return json(`v1/models/${encodeURIComponent(name)}`);
}

/**
 * Detect in one photo, in one call.
 * @param {string} model
 * @param {Blob} photo
 * @param {string} type its media type
 * @param {AbortSignal} signal
 * @returns {Promise<Answer>}
 * @throws {Problem}
 */
export function detect(model, photo, type, signal) {
  const query = new URLSearchParams(OPTIONS);
  const path = `v1/models/${encodeURIComponent(model)}/detections?${query}`;
  const headers = { 'Content-Type': type, Accept: 'application/json' };
  return json(path, { method: 'POST', body: photo, headers, signal });
}

/**
 * Send JSON, signed where the page has somebody's token.
 * @param {string} path relative to the page
 * @param {object} body
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 * @throws {Problem}
 */
export function send(path, body, signal) {
  const headers = { 'Content-Type': 'application/json', ...signature() };
  return json(path, { method: 'POST', headers, body: JSON.stringify(body), signal });
}

/**
 * Ask for JSON.
 * @param {string} path relative to the page
 * @param {RequestInit} [init]
 * @returns {Promise<any>}
 * @throws {Problem}
 */
export async function json(path, init) {
  let response;
  try {
    response = await fetchWithRetries(path, init);
    if (response.ok) return await response.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw unreachable();
  }
  throw await problemOf(response);
}

/** @returns {Problem} that nobody answered */
export function unreachable() {
  return new Problem({
    title: 'No answer',
    detail: 'The service could not be reached. Is the network up, and the service running?',
    retry: true,
  });
}

/** A gateway in between fails in words of its own, so a problem document is not certain. */
async function problemOf(response) {
  const { status } = response;
  const told = await response.json().catch(() => ({}));
  const busy = status === 429 || status >= 502;
  return new Problem({
    title: told.title ?? (busy ? 'The service is busy' : 'That did not work'),
    detail: told.detail ?? `The service answered with status ${status}.`,
    type: told.type,
    faults: told.faults,
    status,
    retry: told.retry ?? busy,
    correlation_id: told.correlation_id ?? response.headers.get('X-Correlation-Id') ?? '',
  });
}
