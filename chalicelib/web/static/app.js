/** The page: what happens to a photo from when it is taken in to when its boxes are saved. */

import { Confidence } from './confidence.js';
import { saveJson, savePicture, shownAnswer } from './download.js';
import { openIntake, openSamples } from './intake.js';
import { Mend } from './mend.js';
import { ModelChoice } from './model.js';
import { Report } from './report.js';
import { Selection } from './selection.js';
import { Sheet } from './sheet.js';
import { Stage } from './stage.js';
import { counted, percent, stem, summary } from './words.js';
import { Work } from './work.js';

const CALM_MS = 600;
const CANNOT_DRAW = 'This browser cannot draw this photo. The API can: ask it for image/jpeg.';
const byId = (id) => document.getElementById(id);

const work = new Work();
const models = new ModelChoice();
const selection = new Selection();
const confidence = new Confidence();
const report = new Report(selection);
const mend = new Mend();
const stage = new Stage(selection, { again: (photo) => work.again(photo), remove });
const sheet = new Sheet(byId('tabs'), { open, remove }, (photo) => confidence.countOf(photo.answer));

/** @type {?import('./work.js').Photo} */
let current = null;
let reported = null;
let telling = 0;

function open(photo) {
  current = photo;
  sheet.select(photo);
  refresh();
}

/** Take photos in and look at the first of them. */
function take(files) {
  const [first] = work.add(files);
  open(first);
  if (files.length > 1) say(`${counted(files.length, 'photo')} taken in`);
}

/** Take photos out; if the one in view is among them, the one after it comes into view. */
function remove(...photos) {
  const at = work.photos.indexOf(current);
  const left = work.photos.filter((photo) => !photos.includes(photo));
  if (photos.includes(current)) current = left[at] ?? left.at(-1) ?? null;
  work.remove(photos);
  if (!current && window.location.hash) {
    window.history.replaceState(null, '', window.location.pathname + window.location.search);
  }
  if (current) sheet.focus(current);
  else byId('choose').focus();
}

/** Bring stage and report up to the photo in view. */
function refresh() {
  document.body.classList.toggle('has-photos', work.photos.length > 0);
  byId('own').hidden = !work.photos.length;
  byId('samples-title').textContent = current ? 'Samples' : 'No photo at hand? Take a sample';
  stage.show(current);
  const answer = current?.answer ?? null;
  if (!answer || answer !== reported) report.draw(current);
  if (answer && answer !== reported) confidence.draw(answer);
  if (answer !== reported) mend.reset(models.models.find(({ name }) => name === answer?.model));
  reported = answer;
  filter();
}

/** Show what is above the slider's confidence, everywhere. */
function filter() {
  for (const photo of work.photos) sheet.update(photo);
  byId('clear').hidden = work.photos.length < 2;
  byId('save-all').hidden = work.photos.filter((photo) => photo.answer).length < 2;
  if (!current?.answer) return;
  const count = confidence.countOf(current.answer);
  confidence.shade(current.answer);
  if (selection.chosen >= count) selection.clear();
  stage.showFirst(count);
  report.showFirst(current, count);
}

/** Tell those who cannot see it, once things are calm. */
function say(text) {
  clearTimeout(telling);
  telling = setTimeout(() => { byId('live').textContent = text; }, CALM_MS / 3);
}

function sayFound(photo) {
  const shown = shownAnswer(photo, confidence.value).detections;
  say(`${summary(shown)} found on ${photo.name}`);
}

function changed({ detail: photo }) {
  sheet.update(photo);
  if (photo.state === 'done' && photo.answer !== photo.told) {
    photo.told = photo.answer;
    if (photo === current) sayFound(photo);
    else if (work.finished) say(`All ${counted(work.photos.length, 'photo')} looked at`);
  }
  if (photo.state === 'failed') say(`${photo.name}: ${photo.problem.title}. ${photo.problem.detail}`);
  if (photo === current) refresh();
  else filter();
}

async function savePhoto() {
  const button = byId('save-picture');
  button.disabled = true;
  try {
    await savePicture(current, confidence.value);
  } catch {
    byId('where').textContent = CANNOT_DRAW;
    say(CANNOT_DRAW);
  }
  button.disabled = false;
}

work.addEventListener('members', () => {
  sheet.show(work.photos, current);
  refresh();
});
work.addEventListener('change', changed);
models.addEventListener('change', () => {
  const address = new URL(window.location.href);
  if (models.models.length > 1) address.searchParams.set('model', models.name);
  window.history.replaceState(null, '', address);
  work.changeModel(models.name);
});
confidence.addEventListener('change', () => {
  filter();
  clearTimeout(telling);
  telling = setTimeout(() => {
    const shown = shownAnswer(current, confidence.value).detections;
    byId('live').textContent = `${summary(shown)} above ${percent(confidence.value)}`;
  }, CALM_MS);
});
byId('save-picture').addEventListener('click', savePhoto);
byId('save-json').addEventListener('click', () => {
  saveJson(shownAnswer(current, confidence.value), `${stem(current.name)}-boxes.json`);
});
byId('mend').addEventListener('click', () => {
  const model = models.models.find(({ name }) => name === current.answer.model);
  mend.open(current, model, confidence.value);
});
byId('save-all').addEventListener('click', () => {
  const answered = work.photos.filter((photo) => photo.answer);
  const results = answered.map((photo) => shownAnswer(photo, confidence.value));
  saveJson({ model: work.model, results }, 'sightloop-boxes.json');
});

byId('clear').addEventListener('click', () => remove(...work.photos));

openIntake(take);
openSamples(take, (problem) => {
  byId('samples-title').textContent = `${problem.title}. ${problem.detail}`;
  say(byId('samples-title').textContent);
});
refresh();
models.load();
