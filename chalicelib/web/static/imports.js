/** A ZIP on its way into a dataset: sent, checked, placed; or what is wrong with it, by name. */

import { json, send } from './api.js';
import { make } from './build.js';
import { sleep } from './busy.js';
import { ask, token } from './operator.js';
import { refuseIfTooLarge, sendForm } from './upload.js';
import { counted } from './words.js';

const POLL_MS = 1000;
const OVER = ['done', 'faulty', 'failed'];
const DOING = {
  waiting: 'Sent. Waiting for it to arrive …',
  checking: 'Checking all images and labels …',
  placing: 'All is sound. Placing the images …',
  publishing: 'In the dataset. Putting the files in their place …',
};

/**
 * @param {string} path of the model, such as `v1/models/scratch`
 * @param {string} model its name
 * @param {(act: () => Promise<void>) => void} run does what may fail, and says so
 * @param {() => Promise<void>} after is done when the images are in the dataset
 * @returns {HTMLElement} what an operator imports a ZIP with
 */
export function importing(path, model, run, after) {
  const file = make('input', { type: 'file', accept: '.zip,application/zip', 'aria-label': `ZIP for ${model}` });
  const told = make('div.told.soft');
  const start = () => run(async () => {
    const [zip] = file.files;
    if (!zip) {
      file.focus();
      told.replaceChildren(make('p', { role: 'status' }, 'Choose a ZIP first.'));
      return;
    }
    await whileDisabled(button, told, async () => {
      if (!await importZip(path, zip, told, new AbortController().signal)) return;
      file.value = '';
      await after();
    });
  });
  const button = make('button.plain', { type: 'button', 'aria-label': `Import into ${model}`, onclick: start }, 'Import');
  return make('div.importing', null, make('p.actions', null, file, button), told);
}

/** What was under way and failed must not be shown on as if it were. */
async function whileDisabled(button, told, act) {
  button.disabled = true;
  try {
    await act();
  } catch (problem) {
    told.replaceChildren();
    throw problem;
  } finally {
    button.disabled = false;
  }
}

/**
 * Import a ZIP and show how far it is until it is over.
 * @param {string} path of the model, such as `v1/models/scratch`
 * @param {File} zip
 * @param {HTMLElement} place where to show it
 * @param {AbortSignal} signal
 * @returns {Promise<boolean>} whether it is in the dataset
 * @throws {import('./api.js').Problem}
 */
export async function importZip(path, zip, place, signal) {
  const tell = (step) => place.replaceChildren(make('p', { role: 'status' }, step));
  tell('Asking for a place to send the ZIP to …');
  const size = { bytes: zip.size }; // all that the form takes of the caller's quota
  const offered = await (token()
    ? ask(`${path}/imports`, { method: 'POST', body: size })
    : send(`${path}/imports`, size, signal));
  refuseIfTooLarge(zip, offered.upload.max_bytes);
  await sendForm(offered.upload, zip, signal, tell);
  for (;;) {
    const held = await json(`v1/imports/${offered.import_id}`, { signal });
    show(held, place);
    if (OVER.includes(held.state)) return held.state === 'done';
    await sleep(POLL_MS, signal);
  }
}

function show(held, place) {
  const parts = [make('p', { role: 'status' }, told(held))];
  if (held.total && !OVER.includes(held.state)) {
    parts.push(make('progress', { max: held.total, value: held.done, 'aria-label': 'Images done' }));
  }
  if (held.faults.length && OVER.includes(held.state)) parts.push(faultList(held));
  place.replaceChildren(make('div.import', null, ...parts));
}

function told(held) {
  if (held.state === 'done') {
    const { training, validation, known, not_taken: kept } = held.placed;
    const before = known ? ` ${counted(known, 'image')} of these it had already.` : '';
    const left = kept ? ` ${counted(kept, 'image')} kept labels that others made: ${names(held)}.` : '';
    return `Done: ${counted(training, 'image')} for training, ${validation} for validation.${before}${left}`;
  }
  if (held.state === 'failed') return `It failed: ${held.problem}.`;
  if (held.state === 'faulty') {
    const count = held.faults.length + held.unlisted;
    return `Nothing was taken: ${counted(count, 'fault')} in the ZIP. Mend them and send it again.`;
  }
  const far = held.total ? ` ${held.done} of ${held.total}` : '';
  return DOING[held.state] + far;
}

function names({ placed: { not_taken: count, not_taken_names: some } }) {
  const more = count - some.length;
  return `${some.join(', ')}${more ? ` and ${more} more` : ''}`;
}

function faultList({ faults, unlisted }) {
  const rows = faults.map(({ name, kind, detail }) => (
    make('li', null, make('code', null, name || 'the ZIP'), ` ${kind}: ${detail}`)));
  if (unlisted) rows.push(make('li', null, `and ${counted(unlisted, 'fault')} more`));
  return make('ul.faults', { tabindex: '0', 'aria-label': 'What is wrong with the ZIP' }, ...rows);
}
