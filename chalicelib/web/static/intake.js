/** How photos come in: chosen, dropped, pasted, or taken from the samples. */

import { unreachable } from './api.js';

const byId = (id) => document.getElementById(id);

/**
 * Take photos from everywhere they can come from.
 * @param {(files: File[]) => void} take
 */
export function openIntake(take) {
  const input = byId('files');
  for (const id of ['choose', 'add']) byId(id).addEventListener('click', () => input.click());
  input.addEventListener('change', () => {
    const files = [...input.files];
    input.value = ''; // so that the same file can be chosen again
    if (files.length) take(files);
  });
  document.addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
  openDrop(take);
}

function openDrop(take) {
  const veil = byId('veil');
  const bringsFiles = (event) => event.dataTransfer?.types.includes('Files');
  const lift = () => { veil.hidden = true; };
  window.addEventListener('dragover', (event) => {
    if (!bringsFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = 'copy';
    veil.hidden = false;
  });
  window.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) lift();
  });
  window.addEventListener('drop', (event) => {
    lift();
    if (!bringsFiles(event)) return;
    event.preventDefault();
    const files = [...event.dataTransfer.files];
    if (files.length) take(files);
  });
}

/**
 * Take samples when they are clicked on, or named in the address as `#tag-1`.
 * @param {(files: File[]) => void} take
 * @param {(problem: import('./api.js').Problem) => void} fail
 */
export function openSamples(take, fail) {
  const names = [...byId('samples').querySelectorAll('a')].map((link) => link.hash.slice(1));
  const takeNamed = async (name) => {
    if (!names.includes(name)) return;
    try {
      take([await fetchSample(name)]);
    } catch {
      fail(unreachable());
    }
  };
  byId('samples').addEventListener('click', (event) => {
    const link = event.target.closest('a');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    window.history.replaceState(null, '', link.hash);
    takeNamed(link.hash.slice(1));
  });
  window.addEventListener('hashchange', () => takeNamed(window.location.hash.slice(1)));
  takeNamed(window.location.hash.slice(1));
}

async function fetchSample(name) {
  const response = await fetch(`samples/${name}.jpg`);
  if (!response.ok) throw new Error(`status ${response.status}`);
  return new File([await response.blob()], `${name}.jpg`, { type: 'image/jpeg' });
}
