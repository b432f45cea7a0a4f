/** A dataset as a ZIP, for operators: asked for, waited for, linked to. */

import { make } from './build.js';
import { sleep } from './busy.js';
import { ask } from './operator.js';
import { bytes } from './words.js';

const POLL_MS = 1000;
const FORMATS = {
  yolo: 'YOLO', coco: 'COCO', voc: 'Pascal VOC', 'ground-truth': 'Ground Truth', csv: 'CSV',
};

/**
 * @param {string} model
 * @param {(act: () => Promise<void>) => void} run does what may fail, and says so
 * @returns {HTMLElement} what an operator exports a dataset with
 */
export function exporting(model, run) {
  const options = Object.entries(FORMATS).map(([value, name]) => make('option', { value }, name));
  const format = make('select', { 'aria-label': `Format of the export of ${model}` }, ...options);
  const told = make('span.told.soft', { role: 'status' });
  const button = make('button.plain', {
    type: 'button',
    'aria-label': `Export ${model}`,
    onclick: () => run(() => exportTo(model, format.value, button, told)),
  }, 'Export');
  return make('p.actions', null, format, button, told);
}

async function exportTo(model, format, button, told) {
  button.disabled = true;
  try {
    const path = `v1/models/${encodeURIComponent(model)}/exports`;
    let held = await ask(path, { method: 'POST', body: { format } });
    const { signal } = new AbortController();
    while (held.state === 'queued' || held.state === 'building') {
      told.textContent = held.total === null ? 'Waiting …' : `${held.done} of ${held.total} images …`;
      await sleep(POLL_MS, signal);
      held = await ask(`v1/exports/${held.export_id}`);
    }
    if (held.state === 'failed') told.textContent = `It failed: ${held.problem}.`;
    else told.replaceChildren(make('a', { href: held.links.archive, download: '' }, `Save the ZIP (${bytes(held.bytes)})`));
  } finally {
    button.disabled = false;
  }
}
