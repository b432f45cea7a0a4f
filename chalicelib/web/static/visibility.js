/** Who may be shown the photos that are sent to a model: said before a photo is kept, and set by operators. */

import { json } from './api.js';
import { make } from './build.js';
import { ask } from './operator.js';

const SEEN_BY = {
  private: 'Only you and the operators of this service can see it.',
  members: 'Everybody who has a token of this service can see it.',
  public: 'Anybody can see it.',
};
const NAMES = { private: 'Private', members: 'Members', public: 'Public' };

/**
 * Return what becomes of a photo that is kept for a model.
 * @param {?import('./api.js').Model} model null: not known yet
 * @returns {string}
 */
export function promise(model) {
  const seen = SEEN_BY[model?.visibility] ?? '';
  return `The photo is then kept, so that its boxes can be corrected. ${seen} You can delete it on the page where you label it.`;
}

/**
 * Return a paragraph that says who sees a model's photos, with a choice for operators.
 * @param {import('./api.js').Model} model
 * @param {boolean} isOperator
 * @param {(act: () => Promise<void>) => Promise<void>} run shows what fails
 * @returns {HTMLElement}
 */
export function visibilityLine(model, isOperator, run) {
  if (!isOperator) return make('p.soft', null, `Photos sent to it: ${NAMES[model.visibility].toLowerCase()}.`);
  const select = make('select', { 'aria-label': `Who may see the photos of ${model.name}` });
  select.append(...Object.keys(NAMES).map((key) => new Option(NAMES[key], key)));
  select.value = model.visibility;
  let previous = model.visibility;
  select.addEventListener('change', () => run(async () => {
    const visibility = select.value;
    select.value = previous;
    const path = `v1/models/${encodeURIComponent(model.name)}/visibility`;
    const changed = await ask(path, { method: 'PUT', body: { visibility, previous } });
    previous = changed.visibility;
    select.value = previous;
  }));
  return make('p.soft', null, 'Photos sent to it are seen by: ', select);
}

/**
 * Delete a prediction with its photo.
 * @param {string} id
 * @returns {Promise<object>}
 * @throws {import('./api.js').Problem}
 */
export function deletePhoto(id) {
  return json(`v1/predictions/${encodeURIComponent(id)}`, { method: 'DELETE' });
}
