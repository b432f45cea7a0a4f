/** One submission that waits: both sides, what changed, the score and its parts, who sent it. */

import { facts, make, when } from './build.js';
import { marksOf, tagOf } from './marks.js';
import { bringOut, plates } from './plates.js';
import { counted, joined, percent } from './words.js';

const WAITS_FOR = {
  proof: 'For its sender to answer control tasks, for two people who agree, or for you.',
  opinions: 'For other people who agree, or for you.',
  operator: 'For an operator only.',
};

/**
 * Show a submission.
 * @param {HTMLElement} sheet
 * @param {object} item of the queue
 * @param {(user: string) => void} open somebody's portrait
 */
export function showCase(sheet, item, open) {
  const marks = marksOf(item);
  const body = make('div.case-body', null,
    heading(item, open),
    plates(item, marks),
    make('div.columns', null,
      make('div', null, reasons(item), opinions(item, open), changes(item, marks)),
      make('div', null, scoring(item), standing(item, open))));
  const point = (event) => bringOut(body, event.target.closest('[data-of]')?.dataset.of ?? null);
  for (const kind of ['pointerover', 'focusin']) body.addEventListener(kind, point);
  for (const kind of ['pointerleave', 'focusout']) {
    body.addEventListener(kind, () => bringOut(body, null));
  }
  sheet.replaceChildren(body);
}

function heading(item, open) {
  return make('header.case-head', null,
    make('h2', null, `Submission ${item.submission_id}`),
    make('p.soft', null,
      person(item.user, open), ' for ', make('strong', null, item.model),
      ` version ${item.version}, `, when(item.updated_at),
      item.image?.url && ' · ',
      item.image?.url && make('a', { href: item.image.url, target: '_blank', rel: 'noopener' }, 'the photo alone')));
}

/** A button with somebody's name, which opens what is known of them. */
function person(user, open) {
  return make('button.link', { type: 'button', onclick: () => open(user) }, user);
}

function reasons(item) {
  const proposed = item.proposal && make('p.proposal', null,
    make('strong', null, 'Proposed: accept. '),
    'Two people who proved themselves on control tasks say the same.');
  return make('section', null, make('h3', null, 'Why it waits'), proposed,
    make('p.waits-for', null, WAITS_FOR[item.waits_for ?? 'operator'], ' ', freed(item)),
    item.reasons.length
      ? make('ul.reasons', null, ...item.reasons.map((text) => make('li', null, text)))
      : make('p.soft', null, 'No reason was recorded.'));
}

/** What one decision is worth, in whole answers. */
function freed({ frees }) {
  const others = Math.round(frees) - 1;
  return others > 0
    ? `A decision settles or helps to release ${counted(others, 'other waiting answer')} as well.`
    : 'A decision settles this answer alone.';
}

function opinions(item, open) {
  if (!item.opinions.length) return null;
  return make('section', null, make('h3', null, 'Others on the same image'),
    make('ul.opinions', null, ...item.opinions.map((each) => make('li', null,
      make(`span.verdict.${each.agrees ? 'good' : 'bad'}`, null, each.agrees ? 'agrees' : 'differs'), ' ',
      person(each.user, open),
      ` ${each.matched} of ${counted(each.total, 'box')} in common`,
      each.is_proven ? ', proved themselves' : ', not proved yet'))));
}

function changes(item, marks) {
  const kept = marks.filter((mark) => !mark.number);
  const rest = marks.filter((mark) => mark.number);
  return make('section', null, make('h3', null, 'What was changed'),
    rest.length
      ? make('ol.changes', null, ...rest.map((mark) => make('li', { 'data-of': mark.number, tabindex: 0 },
        make(`span.tag.${mark.kind}`, null, tagOf(mark)), ' ', mark.words)))
      : make('p.soft', null, 'Nothing.'),
    kept.length > 0 && make('p.soft.kept-count', null,
      make('span.tag.kept', null, '='), ` ${counted(kept.length, 'box')} kept as predicted`));
}

function scoring(item) {
  const rows = item.classes.map((part) => make('tr', null,
    make('th', { scope: 'row' }, part.class_name || `class ${part.class_id}`),
    make('td', null, part.predicted), make('td', null, part.submitted),
    make('td', null, part.average_precision == null ? 'unknown' : part.average_precision.toFixed(2)),
    make('td', null, part.distance.toFixed(2)), make('td', null, part.score.toFixed(2))));
  return make('section', null, make('h3', null, 'Score'),
    make('p.score', null, make('strong', null, item.score.toFixed(3)),
      item.suspicious ? ' suspicious: it counts towards a ban' : ' counts towards no ban'),
    meter(item.score),
    rows.length > 0 && make('div.table', { tabindex: 0, role: 'group', 'aria-label': 'Parts of the score' }, make('table', null,
      make('thead', null, make('tr', null, ...['Class', 'Predicted', 'Submitted', 'AP', 'Distance', 'Score']
        .map((title) => make('th', { scope: 'col' }, title)))),
      make('tbody', null, ...rows))));
}

/** The score on its scale, with the threshold of suspicion marked on it. */
function meter(score) {
  const scale = make('div.scale-bar', { 'aria-hidden': 'true' }, make('i'), make('b'));
  scale.style.setProperty('--share', `${score * 100}%`);
  return scale;
}

function standing(item, open) {
  const who = item.contributor;
  return make('section', null, make('h3', null, 'Contributor'),
    make('p', null, person(item.user, open), ...badges(who)),
    figures(who),
    who.trust.distrust && make('p.distrust', null, who.trust.distrust));
}

/**
 * What is to be known of somebody at a glance.
 * @param {object} who
 * @returns {HTMLElement[]}
 */
export function badges(who) {
  const told = [];
  if (who.banned_since) told.push(make('span.badge.bad', null, 'banned'));
  if (who.trust.distrust) told.push(make('span.badge.bad', null, 'distrusted'));
  if (who.trust.is_proven) told.push(make('span.badge.good', null, 'proved'));
  return told.flatMap((badge) => [' ', badge]);
}

/**
 * Somebody's counters and how well they answer.
 * @param {object} who
 * @returns {HTMLElement}
 */
export function figures(who) {
  const { trust } = who;
  const rates = [['overlooked', trust.overlooked_rate], ['badly placed', trust.misplaced_rate],
    ['mislabelled', trust.mislabelled_rate], ['spurious', trust.spurious_rate]]
    .filter(([, rate]) => rate != null).map(([name, rate]) => `${percent(rate)} ${name}`);
  const compared = counted(trust.compared, 'answer');
  return facts([
    ['Submissions', who.submissions],
    ['Mean score', who.mean_score.toFixed(3)],
    ['Suspicious', who.forgiven ? `${who.suspicious}, ${who.forgiven} of them forgiven` : who.suspicious],
    ['Accuracy on control tasks', trust.accuracy == null ? 'none answered yet'
      : `${percent(trust.accuracy)} (${counted(trust.controls, 'image')})`],
    ['Of their control boxes', rates.length ? joined(rates) : null],
    ['Agreement with others', trust.agreement == null ? 'not compared yet'
      : `${percent(trust.agreement)} (${compared})`],
  ]);
}
