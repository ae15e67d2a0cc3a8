// Unpacking and drawing of skeletons: the first half of the page's script; player.js is the second. Both are put into
// one function by player.py, which also describes the data (`payload`). Nothing is asked of the network.
"use strict";

const MISSING = -32768;
const PARTS = ["body", "face", "left-hand", "right-hand"];
const LEFT_HAND = 2, RIGHT_HAND = 3;
const SPEEDS = [0.25, 0.5, 1, 1.5, 2];
const GOLDEN_ANGLE = 137.50776;
const ROW_HEIGHT = 16; // of one row of tokens, in CSS pixels
const TAG_ROOM = 24; // kept free under a skeleton for what the picture lacks

const root = document.documentElement;
window.addEventListener("error", (event) => { root.dataset.error = event.message; });
window.addEventListener("unhandledrejection", (event) => { root.dataset.error = String(event.reason); });

const { skeletons, scenes } = JSON.parse(document.getElementById("signllm-data").textContent);
const settings = { speed: 1, loop: true, view: "all", overlay: false };
const tooltip = document.getElementById("tooltip");
let palette = readPalette();

// ---- small helpers ------------------------------------------------------------------------------------------

/** An element with attributes and children; strings become text nodes, so no label is ever read as HTML. */
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function readPalette() {
  const style = getComputedStyle(root);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  return { parts: PARTS.map(read), ghost: read("ghost") };
}

/** Neighbouring ids get far apart hues; three lightnesses tell ids of similar hue apart. Black text is readable. */
const codeColor = (code) => `oklch(${[0.72, 0.82, 0.64][code % 3]} 0.13 ${(code * GOLDEN_ANGLE) % 360})`;

/** Gives the canvas as many pixels as the screen has and returns a context that measures in CSS pixels. */
function prepare(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 3);
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

// ---- data ---------------------------------------------------------------------------------------------------

/** base64 -> zlib -> differences between frames -> Int16Array [T, J, C]. */
async function unpack(track) {
  const bytes = Uint8Array.from(atob(track.data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const view = new DataView(await new Response(stream).arrayBuffer());
  const [frames, joints, dims] = track.shape;
  const values = new Int16Array(frames * joints * dims);
  for (let i = 0; i < values.length; i++) {
    const before = i < joints * dims ? 0 : values[i - joints * dims];
    values[i] = before + view.getInt16(2 * i, true); // Int16Array wraps modulo 2^16, as the packing did
  }
  return values;
}

const frameAt = (track, time) => clamp(Math.floor(time * track.fps + 1e-6), 0, track.shape[0] - 1);
const isSeen = (track, frame, joint) =>
  track.values[(frame * track.shape[1] + joint) * track.shape[2]] !== MISSING;
const jointsOf = (track, part) =>
  skeletons[track.skeleton].parts.flatMap((p, joint) => (p === part ? [joint] : []));
const partSeen = (track, frame, part) => track.hands[part].some((joint) => isSeen(track, frame, joint));

/** Size of a hand (90th percentile over frames of its larger side) and the length of its path, in track units. */
function measureHand(track, part) {
  const [frames, count, dims] = track.shape;
  const sizes = [];
  let path = 0;
  for (let frame = 0; frame < frames; frame++) {
    const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
    for (const joint of track.hands[part]) {
      if (!isSeen(track, frame, joint)) continue;
      for (let axis = 0; axis < 2; axis++) {
        const at = (frame * count + joint) * dims + axis;
        low[axis] = Math.min(low[axis], track.values[at]);
        high[axis] = Math.max(high[axis], track.values[at]);
        if (frame && isSeen(track, frame - 1, joint)) path += Math.abs(track.values[at] - track.values[at - count * dims]);
      }
    }
    if (low[0] <= high[0]) sizes.push(Math.max(high[0] - low[0], high[1] - low[1]));
  }
  sizes.sort((a, b) => a - b);
  const size = sizes.length ? sizes[Math.floor(0.9 * (sizes.length - 1))] : 0;
  return { size: Math.max(size * track.step, 1e-6), path: path + sizes.length / frames };
}

// ---- drawing of one skeleton --------------------------------------------------------------------------------

/** Float32Array [J, 2]: places relative to the window's centre after turning; NaN where a joint was not seen. */
function project(track, frame, turn) {
  const [, joints, dims] = track.shape;
  const points = new Float32Array(joints * 2).fill(NaN);
  const [sinY, cosY, sinP, cosP] = [Math.sin(turn.yaw), Math.cos(turn.yaw), Math.sin(turn.pitch), Math.cos(turn.pitch)];
  for (let joint = 0; joint < joints; joint++) {
    const at = (frame * joints + joint) * dims;
    if (track.values[at] === MISSING) continue;
    let [x, y] = [track.values[at] * track.step, track.values[at + 1] * track.step];
    if (dims === 3) {
      const z = track.values[at + 2] * track.step;
      const depth = z * cosY - x * sinY;
      x = x * cosY + z * sinY;
      y = y * cosP - depth * sinP;
    }
    points[2 * joint] = x;
    points[2 * joint + 1] = y;
  }
  return points;
}

/** Middle of the seen joints of a part, or null. */
function middle(points, joints) {
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const joint of joints) {
    const [x, y] = [points[2 * joint], points[2 * joint + 1]];
    if (Number.isNaN(x)) continue;
    left = Math.min(left, x); right = Math.max(right, x);
    top = Math.min(top, y); bottom = Math.max(bottom, y);
  }
  return left <= right ? [(left + right) / 2, (top + bottom) / 2] : null;
}

/** Draws one part, or all (`only` null). `style`: alpha, width, and for a ghost one colour, and bones without dots. */
function drawSkeleton(context, track, points, place, style, only) {
  const skeleton = skeletons[track.skeleton];
  context.globalAlpha = style.alpha;
  context.lineCap = "round";
  PARTS.forEach((_, part) => {
    if (only !== null && only !== part) return;
    context.strokeStyle = context.fillStyle = style.color || palette.parts[part];
    context.lineWidth = style.width * (part === 0 ? 1.25 : part === 1 ? 0.6 : 1);
    context.beginPath();
    skeleton.edges.forEach(([from, to], edge) => {
      if (skeleton.edgeParts[edge] !== part || Number.isNaN(points[2 * from]) || Number.isNaN(points[2 * to])) return;
      context.moveTo(...place(points[2 * from], points[2 * from + 1]));
      context.lineTo(...place(points[2 * to], points[2 * to + 1]));
    });
    context.stroke();
    if (style.color && part !== 1) return; // the face is mostly dots
    const radius = style.width * (part === 1 ? 0.4 : 0.85);
    context.beginPath();
    skeleton.parts.forEach((its, joint) => {
      if (its !== part || Number.isNaN(points[2 * joint])) return;
      const [x, y] = place(points[2 * joint], points[2 * joint + 1]);
      context.moveTo(x + radius, y);
      context.arc(x, y, radius, 0, 2 * Math.PI);
    });
    context.fill();
  });
  context.globalAlpha = 1;
}
