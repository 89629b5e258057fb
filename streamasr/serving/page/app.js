// The page: a microphone or a recording in, the server's events out.

import { Microphone } from "./microphone.js";
import { Transcript } from "./transcript.js";
import { upload } from "./upload.js";

const $ = (id) => document.getElementById(id);
const transcript = new Transcript($("finals"), $("partial"), $("transcript"));

let microphone = null;
let clock = 0;
let offset = 0; // of this recording in the transcript: a second one follows the first

function say(text, alarm = false) {
  if ($("status").textContent === text) return; // or a screen reader would say it again and again
  $("status").textContent = text;
  $("status").classList.toggle("alarm", alarm);
}

function saveable() {
  const empty = transcript.segments.length === 0;
  for (const id of ["save-txt", "save-srt", "clear"]) $(id).disabled = empty;
}

function addFinal(event) {
  transcript.addFinal({ ...event, start: event.start + offset, end: event.end + offset });
  saveable();
}

function takeEvent(event) {
  if (event.type === "partial") transcript.showPartial(event);
  if (event.type === "final") addFinal(event);
  if (event.type === "error") say(event.message, true);
  // A final waits for the silence that ends it; partials show the latency of words.
  if (event.type === "partial" && event.text) $("latency").textContent = `${Math.round(event.latency_ms)} ms`;
}

function showLevel(peak) {
  const db = peak > 0 ? Math.max(-60, 20 * Math.log10(peak)) : -60;
  $("level").value = db;
  if (peak >= 0.999) say("Too loud: the recording is clipped. Move back or turn it down.", true);
  else if (microphone?.silentFor > 4) say("There is no sound: is this the right microphone?", true);
  else say("Listening.");
}

function showTalking(talking) {
  $("talk").setAttribute("aria-pressed", String(talking));
  $("talk").textContent = talking ? "Stop" : "Start talking";
  $("file").disabled = talking;
  clearInterval(clock);
  if (talking) {
    const began = Date.now();
    clock = setInterval(() => {
      const seconds = Math.floor((Date.now() - began) / 1000);
      $("elapsed").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    }, 250);
  } else {
    $("level").value = -60;
  }
}

async function start() {
  $("talk").disabled = true;
  offset = transcript.segments.at(-1)?.end ?? 0;
  try {
    microphone = await Microphone.open({
      token: $("token").value,
      onEvent: takeEvent,
      onLevel: showLevel,
      onClose: (reason) => {
        microphone = null;
        showTalking(false);
        $("talk").disabled = false;
        say(reason || "Stopped.", Boolean(reason));
      },
    });
    showTalking(true);
    say("Listening.");
  } catch (error) {
    say(error.message, true);
  }
  $("talk").disabled = false;
}

async function stop() {
  $("talk").disabled = true;
  say("Waiting for the last words.");
  await microphone.stop();
}

async function open(file) {
  if (!file || microphone || $("talk").disabled) return; // one at a time
  $("upload").hidden = false;
  $("talk").disabled = true;
  say(`Sending ${file.name}.`);
  offset = transcript.segments.at(-1)?.end ?? 0;
  try {
    const result = await upload(file, $("token").value, (share) => {
      $("upload").value = share;
      if (share === 1) say(`Transcribing ${file.name}.`);
    });
    transcript.addNote(file.name);
    result.segments.forEach(addFinal);
    say(result.segments.length ? "Done." : "No words were recognised.");
  } catch (error) {
    say(error.message, true);
  }
  $("upload").hidden = true;
  $("upload").value = 0;
  $("talk").disabled = false;
}

// A server that decodes worse than its model can says so, and the page passes it on.
async function showDegraded() {
  const server = await (await fetch(new URL("readyz", document.baseURI))).json();
  $("degraded").hidden = !server.degraded;
  if (server.degraded) {
    $("degraded").textContent =
      `Many words will be wrong: the model's language model cannot be used (${server.reason}).`;
  }
}

function save(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

showDegraded().catch(() => {}); // a proxy may keep operators' routes to itself
$("talk").addEventListener("click", () => (microphone ? stop() : start()));
$("file").addEventListener("change", (event) => {
  open(event.target.files[0]);
  event.target.value = "";
});
$("save-txt").addEventListener("click", () => save("transcript.txt", transcript.txt, "text/plain"));
$("save-srt").addEventListener("click", () => save("transcript.srt", transcript.srt, "application/x-subrip"));
$("clear").addEventListener("click", () => {
  transcript.clear();
  saveable();
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") open(event.dataTransfer.files[0]);
  });
}
