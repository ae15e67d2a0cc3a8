// The scenes and controls of the page: the second half of its script, after skeleton.js.
// Time runs in seconds; every track shows frame floor(time * its own fps), so tracks of unlike rates stay in step.

// ---- one scene ----------------------------------------------------------------------------------------------

class Player {
  constructor(scene, number) {
    this.tracks = scene.tracks;
    for (const track of this.tracks) track.hands = { 2: jointsOf(track, LEFT_HAND), 3: jointsOf(track, RIGHT_HAND) };
    this.lead = this.tracks.reduce((best, track) => (track.fps > best.fps ? track : best)); // steps go by its frames
    const durations = this.tracks.map((track) => track.shape[0] / track.fps);
    this.duration = Math.max(...durations);
    this.steps = Math.round(this.duration * this.lead.fps);
    // The first picture: the middle of the shortest clip, where signing is likely under way. Playing starts at 0.
    this.time = (Math.floor((Math.min(...durations) / 2) * this.lead.fps) + 0.5) / this.lead.fps;
    this.started = this.playing = this.visible = this.ready = false;
    this.turn = { yaw: 0, pitch: 0 };
    this.build(scene, number);
  }

  // -- page elements

  build(scene, number) {
    const name = scene.title || `Clip ${number + 1}`;
    this.panels = this.tracks.map((track) => this.buildPanel(track));
    this.playButton = element("button", { type: "button", class: "play", "aria-label": `Play ${name}` }, "▶");
    this.backButton = element("button", { type: "button", "aria-label": "One frame back" }, "◂");
    this.nextButton = element("button", { type: "button", "aria-label": "One frame on" }, "▸");
    this.readout = element("output", { class: "readout" });
    this.fill = element("div", { class: "fill" });
    this.playhead = element("div", { class: "playhead" });
    this.strips = this.tracks.filter((track) => track.codes).map((track) => this.buildStrip(track));
    this.timeline = element("div", {
      class: "timeline", role: "slider", tabindex: "0", "aria-label": `Time line of ${name}`,
      "aria-valuemin": "1", "aria-valuemax": String(this.steps), "aria-valuenow": "1",
    }, element("div", { class: "rail" }, this.fill), ...this.strips.flatMap((s) => [s.line, s.canvas]), this.playhead);
    this.node = element("section", { class: "scene", "aria-label": name },
      element("h3", {}, name),
      ...(scene.note ? [element("p", { class: "note" }, scene.note)] : []),
      element("div", { class: "panels" }, ...this.panels.map((panel) => panel.node)),
      element("div", { class: "controls" }, this.playButton, this.backButton, this.nextButton, this.readout),
      this.timeline);
    if (this.tracks.length > 2) this.node.classList.add("wide");
    this.playButton.addEventListener("click", () => this.toggle());
    this.backButton.addEventListener("click", () => this.step(-1));
    this.nextButton.addEventListener("click", () => this.step(1));
    this.node.addEventListener("pointerdown", () => { current = this; });
    this.node.addEventListener("focusin", () => { current = this; });
    this.listenToTimeline();
  }

  buildPanel(track) {
    const [width, height] = this.tracks[0].view;
    const [frames, joints, dims] = track.shape;
    const canvas = element("canvas", {
      role: "img",
      "aria-label": `${track.label}: ${joints} joints (${track.skeleton}), ${frames} frames at ${+track.fps.toFixed(2)} per second`,
    });
    const tags = element("div", { class: "tags" });
    const stage = element("div", { class: "stage" }, canvas, tags);
    stage.style.aspectRatio = clamp(width / height, 0.8, 1.35).toFixed(3);
    const panel = { track, canvas, tags, node: element("figure", { class: "panel" }, element("h4", {}, track.label), stage) };
    if (track.caption) panel.node.append(element("figcaption", {}, track.caption));
    if (dims === 3) this.listenToTurning(canvas);
    return panel;
  }

  buildStrip(track) {
    const canvas = element("canvas", { class: "strip", "aria-hidden": "true" });
    canvas.style.height = `${Math.max(track.codes.length, 1) * ROW_HEIGHT}px`;
    const strip = { track, canvas, line: element("p", { class: "now" }) };
    canvas.addEventListener("pointermove", (event) => this.showCode(strip, event));
    canvas.addEventListener("pointerleave", () => { tooltip.hidden = true; });
    return strip;
  }

  // -- pointer

  listenToTimeline() {
    const seek = (event) => {
      const box = this.timeline.getBoundingClientRect();
      this.seek(((event.clientX - box.left) / box.width) * this.duration);
    };
    this.timeline.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      this.timeline.setPointerCapture(event.pointerId);
      seek(event);
    });
    this.timeline.addEventListener("pointermove", (event) => {
      if (this.timeline.hasPointerCapture(event.pointerId)) seek(event);
    });
  }

  listenToTurning(canvas) {
    canvas.classList.add("turns");
    let last = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      last = event;
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      this.turnBy((event.clientX - last.clientX) * 0.01, (event.clientY - last.clientY) * 0.01);
      last = event;
    });
    canvas.addEventListener("dblclick", () => this.turnBy(-this.turn.yaw, -this.turn.pitch));
  }

  turnBy(yaw, pitch) {
    this.turn.yaw += yaw;
    this.turn.pitch = clamp(this.turn.pitch + pitch, -Math.PI / 2, Math.PI / 2);
    this.draw();
  }

  showCode({ track, canvas }, event) {
    const box = canvas.getBoundingClientRect();
    const level = clamp(Math.floor((event.clientY - box.top) / ROW_HEIGHT), 0, track.codes.length - 1);
    const frame = ((event.clientX - box.left) / box.width) * this.duration * track.fps;
    const position = Math.floor(frame / track.framesPerCode);
    const code = (track.codes[level] || [])[position];
    tooltip.hidden = code === undefined;
    if (tooltip.hidden) return;
    const first = Math.floor(position * track.framesPerCode);
    const last = Math.min(Math.ceil((position + 1) * track.framesPerCode), track.shape[0]);
    const where = track.codes.length > 1 ? `level ${level + 1} · ` : "";
    setText(tooltip, `${code < 0 ? "no code" : `code ${code}`} · ${where}frames ${first + 1}–${last} · ` +
      `${(first / track.fps).toFixed(2)}–${(last / track.fps).toFixed(2)} s`);
    tooltip.style.left = `${clamp(event.clientX, 90, window.innerWidth - 110)}px`;
    tooltip.style.top = `${box.top - 34}px`;
  }

  // -- time

  toggle(on = !this.playing) {
    if (on && (!this.started || (!settings.loop && this.time >= this.duration - 1 / this.lead.fps))) this.time = 0;
    this.started ||= on;
    this.playing = on;
    this.playButton.textContent = on ? "❚❚" : "▶";
    this.playButton.setAttribute("aria-label", this.playButton.getAttribute("aria-label").replace(/^\w+/, on ? "Pause" : "Play"));
    this.node.classList.toggle("playing", on);
    updateToolbar();
    this.draw();
    if (on) animate();
  }

  advance(seconds) {
    this.time += seconds;
    if (this.time >= this.duration) {
      if (settings.loop) this.time %= this.duration;
      else { this.time = this.duration - 1e-6; this.toggle(false); }
    }
    this.draw();
  }

  seek(time) {
    this.started = true;
    this.time = clamp(time, 0, this.duration - 1e-6);
    this.draw();
  }

  /** To another frame of the fastest track, by its middle; pauses. */
  step(frames) {
    if (this.playing) this.toggle(false);
    const frame = clamp(Math.floor(this.time * this.lead.fps + 1e-6) + frames, 0, this.steps - 1);
    this.seek((frame + 0.5) / this.lead.fps);
  }

  // -- pictures

  /** Called when the scene comes near the screen for the first time. */
  async load() {
    this.loading = true;
    await Promise.all(this.tracks.map(async (track) => { track.values = await unpack(track); }));
    for (const track of this.tracks) {
      track.measures = {};
      for (const part of [LEFT_HAND, RIGHT_HAND]) if (track.hands[part].length) track.measures[part] = measureHand(track, part);
    }
    const { measures } = this.tracks.find((track) => Object.keys(track.measures).length) || this.tracks[0];
    const path = (part) => (measures[part] ? measures[part].path : -1);
    this.activeHand = path(LEFT_HAND) > path(RIGHT_HAND) ? LEFT_HAND : RIGHT_HAND; // the one that moves more
    this.ready = true;
    this.drawStrips();
    this.draw();
    this.node.dataset.drawn = "true";
    root.dataset.ready = "true";
  }

  draw() {
    const done = this.time / this.duration;
    const frame = Math.min(Math.floor(this.time * this.lead.fps + 1e-6) + 1, this.steps);
    const [seconds, all] = [this.time.toFixed(2), this.duration.toFixed(2)];
    const pad = (text, like) => String(text).padStart(String(like).length, "\u2007"); // figure spaces: no jumping
    setText(this.readout, `${pad(seconds, all)} of ${all} s · frame ${pad(frame, this.steps)} of ${this.steps}`);
    this.playhead.style.transform = `translateX(${100 * done}%)`; // transforms move without a new layout
    this.fill.style.transform = `scaleX(${done})`;
    this.timeline.setAttribute("aria-valuenow", String(frame));
    const codes = this.strips.map(({ track, line }) => {
      const text = this.codesNow(track);
      setText(line, this.strips.length > 1 ? `tokens of ${track.label}: ${text}` : `tokens: ${text}`);
      return text;
    });
    this.timeline.setAttribute("aria-valuetext", [`frame ${frame} of ${this.steps}`, ...codes].join(", tokens "));
    if (this.ready && this.visible) for (const panel of this.panels) this.drawPanel(panel);
  }

  codesNow(track) {
    const position = Math.floor(frameAt(track, this.time) / track.framesPerCode);
    return track.codes.map((row) => (row[position] === undefined || row[position] < 0 ? "–" : row[position])).join(" ");
  }

  drawPanel(panel) {
    const { track } = panel;
    const { context, width, height: all } = prepare(panel.canvas);
    const height = all - TAG_ROOM;
    const hand = { left: LEFT_HAND, right: RIGHT_HAND, active: this.activeHand }[settings.view];
    const zoom = hand !== undefined && track.measures[hand] ? hand : null;
    const frame = frameAt(track, this.time);
    const points = project(track, frame, this.turn);
    const reference = this.tracks[0];
    const ghost = settings.overlay && track !== reference && track.shared ? project(reference, frameAt(reference, this.time), this.turn) : null;
    let center = [0, 0], size = track.view;
    if (zoom !== null) {
      const sized = track.shared && reference.measures[zoom] ? reference : track;
      size = [1.2 * sized.measures[zoom].size, 1.2 * sized.measures[zoom].size];
      // Each hand is centred in its own panel; laid over the original, it is shown where it is.
      center = (ghost && middle(ghost, reference.hands[zoom])) || middle(points, track.hands[zoom]) || [0, 0];
    }
    const scale = Math.min(width / size[0], height / size[1]);
    const place = (x, y) => [(x - center[0]) * scale + width / 2, (y - center[1]) * scale + height / 2];
    const line = clamp(Math.min(width, height) / 130, 1.4, 4) * (zoom === null ? 1 : 1.8);
    const ended = this.time >= track.shape[0] / track.fps + 1e-6;
    if (ghost) drawSkeleton(context, reference, ghost, place, { alpha: 0.4, color: palette.ghost, width: line * 1.5 }, zoom);
    drawSkeleton(context, track, points, place, { alpha: ended ? 0.35 : 1, width: line }, zoom);
    this.drawTags(panel, frame, zoom, ended);
  }

  /** Says what the picture lacks. */
  drawTags({ track, tags }, frame, zoom, ended) {
    const lost = [LEFT_HAND, RIGHT_HAND].filter((part) =>
      track.hands[part].length && (zoom === null || zoom === part) && !partSeen(track, frame, part));
    const wanted = lost.map((part) => [PARTS[part], `${part === LEFT_HAND ? "left" : "right"} hand not tracked`]);
    if (ended) wanted.push(["plain", "clip has ended"]);
    if (!track.shared) wanted.push(["plain", "own scale"]);
    const key = JSON.stringify(wanted);
    if (tags.dataset.key === key) return;
    tags.dataset.key = key;
    tags.replaceChildren(...wanted.map(([kind, text]) => element("span", { class: `tag ${kind}` }, text)));
  }

  drawStrips() {
    for (const { track, canvas } of this.strips) {
      const { context, width } = prepare(canvas);
      const perSecond = width / this.duration;
      context.font = "10px system-ui, sans-serif";
      context.textAlign = "center";
      context.textBaseline = "middle";
      track.codes.forEach((row, level) => row.forEach((code, position) => {
        const left = ((position * track.framesPerCode) / track.fps) * perSecond;
        const right = (Math.min((position + 1) * track.framesPerCode, track.shape[0]) / track.fps) * perSecond;
        if (right <= left || code < 0) return;
        context.fillStyle = codeColor(code);
        context.fillRect(left, level * ROW_HEIGHT, Math.max(right - left - (right - left > 6 ? 1 : 0), 0.5), ROW_HEIGHT - 1);
        if (context.measureText(String(code)).width + 4 > right - left) return;
        context.fillStyle = "#000";
        context.fillText(String(code), (left + right) / 2, (level + 0.5) * ROW_HEIGHT);
      }));
    }
  }
}

// ---- the page -----------------------------------------------------------------------------------------------

const players = scenes.map((scene, number) => new Player(scene, number));
let current = players[0]; // the scene that keys act on: the last one touched
document.getElementById("scenes").append(...players.map((player) => player.node));

let lastTick = null;
const isMoving = (player) => player.playing && player.visible;

/** One loop for all scenes: only those on the screen move, and it stops when none does. */
function animate() {
  if (lastTick !== null) return;
  lastTick = performance.now();
  const tick = (now) => {
    const passed = clamp((now - lastTick) / 1000, 0, 0.25); // a tab in the background does not jump when it returns
    lastTick = now;
    for (const player of players) if (isMoving(player)) player.advance(passed * settings.speed);
    if (players.some(isMoving)) requestAnimationFrame(tick);
    else lastTick = null;
  };
  requestAnimationFrame(tick);
}

function redraw({ strips = false } = {}) {
  for (const player of players) {
    if (!player.ready || !player.visible) continue; // it is drawn anew when it comes into view
    if (strips) player.drawStrips();
    player.draw();
  }
}

const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const player = players.find(({ node }) => node === entry.target);
    player.visible = entry.isIntersecting;
    if (!player.visible) continue;
    if (!player.loading) player.load();
    else if (player.ready) { player.drawStrips(); player.draw(); }
    if (player.playing) animate();
  }
}, { rootMargin: "150px" });

// ---- toolbar ------------------------------------------------------------------------------------------------

function choice(label, options, value, onChange) {
  const select = element("select", {}, ...options.map(([key, text]) => element("option", { value: key }, text)));
  select.value = value;
  select.addEventListener("change", () => onChange(select.value));
  return { select, node: element("label", {}, element("span", {}, label), select) };
}

function toggleButton(text, pressed, onChange) {
  const button = element("button", { type: "button", "aria-pressed": String(pressed) }, text);
  button.addEventListener("click", () => {
    const now = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(now));
    onChange(now);
  });
  return button;
}

const allTracks = players.flatMap((player) => player.tracks);
const hasHands = allTracks.some((track) => track.hands[LEFT_HAND].length || track.hands[RIGHT_HAND].length);
const canOverlay = players.some(({ tracks }) => tracks.slice(1).some((track) => track.shared));
const playAll = element("button", { type: "button", class: "play-all" }, "Play all");
const loopButton = toggleButton("Loop", settings.loop, (on) => { settings.loop = on; });
const overlayButton = toggleButton("Overlay", settings.overlay, (on) => { settings.overlay = on; redraw(); });
overlayButton.title = "Lay each skeleton over the first one of its row";
const speed = choice("Speed", SPEEDS.map((s) => [s, `${s}×`]), "1", (value) => { settings.speed = Number(value); });
const view = choice("View", [["all", "Whole signer"], ["active", "Active hand"], ["left", "Left hand"], ["right", "Right hand"]],
  settings.view, (value) => { settings.view = value; redraw(); });
const shown = ["body", "face", "left-hand", "right-hand"].filter((_, part) =>
  allTracks.some((track) => skeletons[track.skeleton].parts.includes(part)));
const legend = element("span", { class: "legend" }, ...shown.map((name) =>
  element("span", { class: name }, element("i", { "aria-hidden": "true" }), name.replace("-", " "))));
playAll.addEventListener("click", () => {
  const on = !players.some((player) => player.playing);
  players.forEach((player) => player.toggle(on));
});
document.getElementById("toolbar").append(...(players.length > 1 ? [playAll] : []), speed.node,
  ...(hasHands ? [view.node] : []), loopButton, ...(canOverlay ? [overlayButton] : []), legend);

function updateToolbar() {
  setText(playAll, players.some((player) => player.playing) ? "Pause all" : "Play all");
}

// ---- keyboard -----------------------------------------------------------------------------------------------

function changeSpeed(direction) {
  const index = clamp(SPEEDS.indexOf(settings.speed) + direction, 0, SPEEDS.length - 1);
  settings.speed = SPEEDS[index];
  speed.select.value = String(settings.speed);
}

function changeView() {
  if (!hasHands) return;
  settings.view = view.select.value = settings.view === "all" ? "active" : "all";
  redraw();
}

const keys = {
  " ": () => current.toggle(),
  ArrowLeft: () => current.step(-1),
  ArrowRight: () => current.step(1),
  Home: () => current.step(-current.steps),
  End: () => current.step(current.steps),
  z: changeView,
  o: () => canOverlay && overlayButton.click(),
  l: () => loopButton.click(),
  "-": () => changeSpeed(-1),
  "+": () => changeSpeed(1),
  "=": () => changeSpeed(1), // + without shift on many keyboards
  0: () => current.turnBy(-current.turn.yaw, -current.turn.pitch),
};
const turnKeys = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };

function isOnScreen({ timeline }) {
  const box = timeline.getBoundingClientRect();
  return box.top > 0 && box.top < window.innerHeight;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, a")) return;
  if (event.key === " " && event.target.closest("button")) return; // the button does its own thing
  const inScene = players.length === 1 || event.target.closest(".scene");
  if (["Home", "End"].includes(event.key) && !inScene) return; // they scroll the page
  if (!isOnScreen(current)) current = players.find(isOnScreen) || current;
  const turn = event.shiftKey && turnKeys[event.key];
  const action = turn ? () => current.turnBy(...turn) : keys[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

// ---- begin --------------------------------------------------------------------------------------------------

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { palette = readPalette(); redraw({ strips: true }); });
new ResizeObserver(() => redraw({ strips: true })).observe(document.getElementById("scenes"));
for (const player of players) { player.draw(); observer.observe(player.node); }
