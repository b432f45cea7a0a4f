/** The keyboard of the labelling tool. Letters count only while the photo has the focus. */

import { shifted } from './annotation.js';

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const FAR = 10;
const ZOOM_STEP = 1.25;

/**
 * Listen to keys.
 * @param {import('./label.js').Tool} tool
 */
export function openKeys(tool) {
  window.addEventListener('keydown', (event) => {
    if (everywhere(tool, event) || (onPhoto(tool) && overPhoto(tool, event))) {
      event.preventDefault();
      event.stopPropagation();
    }
  }, { capture: true });
  window.addEventListener('keyup', (event) => {
    if (event.key === ' ') tool.viewport.spaceHeld = false;
  });
  window.addEventListener('blur', () => { tool.viewport.spaceHeld = false; });
}

function onPhoto({ viewport }) {
  return viewport.scroller.contains(document.activeElement) || document.activeElement === document.body;
}

/** Undo, redo and send; within a text field the browser's own undo stays what it is. */
function everywhere(tool, event) {
  if (!tool.draft || !(event.ctrlKey || event.metaKey) || event.altKey) return false;
  const key = event.key.toLowerCase();
  if (key === 'enter') return tool.sendLikely();
  if (document.activeElement.matches('input')) return false;
  if (key === 'z' && !event.shiftKey) return tool.undo();
  if (key === 'y' || key === 'z') return tool.redo();
  return false;
}

function overPhoto(tool, event) {
  if (!tool.draft || event.ctrlKey || event.metaKey) return false;
  if (ARROWS[event.key]) return arrow(tool, event);
  if (event.altKey) return false;
  if (/^[1-9]$/.test(event.key)) return tool.setClass(Number(event.key) - 1);
  const act = ACTS[event.key] ?? ACTS[event.key.toLowerCase()];
  if (!act) return false;
  act(tool);
  return true;
}

const ACTS = {
  a: (tool) => tool.addInMiddle(),
  Insert: (tool) => tool.addInMiddle(),
  n: (tool) => tool.step(1),
  p: (tool) => tool.step(-1),
  c: (tool) => tool.classField.focus(),
  Enter: (tool) => tool.classField.focus(),
  Delete: (tool) => tool.remove(tool.chosen),
  Backspace: (tool) => tool.remove(tool.chosen),
  Escape: (tool) => tool.letGo(),
  '+': ({ viewport }) => viewport.zoomBy(ZOOM_STEP),
  '=': ({ viewport }) => viewport.zoomBy(ZOOM_STEP),
  '-': ({ viewport }) => viewport.zoomBy(1 / ZOOM_STEP),
  0: ({ viewport }) => viewport.fit(),
  z: (tool) => tool.zoomToChosen(),
  b: (tool) => tool.take('draw'),
  m: (tool) => tool.take('move'),
  ' ': ({ viewport }) => { viewport.spaceHeld = true; },
};

/** Move the chosen box; with Alt its right and lower edge. Without one the photo scrolls. */
function arrow(tool, event) {
  const box = tool.draft.find(tool.chosen);
  if (!box) return false;
  const [across, down] = ARROWS[event.key].map((by) => by * (event.shiftKey ? FAR : 1));
  const { width, height } = tool.task.size;
  const edges = event.altKey
    ? {
      x2: Math.min(Math.max(box.x2 + across, box.x1 + 1), width),
      y2: Math.min(Math.max(box.y2 + down, box.y1 + 1), height),
    }
    : moved(box, across, down, tool.task.size);
  tool.edit(box.id, edges, event.altKey ? 'resize' : 'nudge');
  return true;
}

function moved(box, across, down, { width, height }) {
  const [x1, x2] = shifted(box.x1, box.x2, across, width);
  const [y1, y2] = shifted(box.y1, box.y2, down, height);
  return { x1, y1, x2, y2 };
}
