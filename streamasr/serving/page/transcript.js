// The transcript: final segments, the segment that is still open, and what can be saved of them.

const pad = (value, length = 2) => String(value).padStart(length, "0");

function srtTime(seconds) {
  const ms = Math.round(seconds * 1000);
  const [h, m, s] = [ms / 3_600_000, (ms / 60_000) % 60, (ms / 1000) % 60].map(Math.floor);
  return `${pad(h)}:${pad(m)}:${pad(s)},${pad(ms % 1000, 3)}`;
}

export class Transcript {
  constructor(finals, partial, frame) {
    this.finals = finals;
    this.partial = partial;
    this.frame = frame;
    this.segments = [];
  }

  // The first `firm` words can no longer change; those behind them are paler. A word's `text` is how
  // it is written, empty within a number; where text is plain, it has none.
  showPartial({ words, firm }) {
    const written = (some) => some.map((w) => w.text ?? w.word).filter(Boolean).join(" ");
    const open = document.createElement("span");
    open.className = "open";
    open.textContent = written(words.slice(firm));
    this.partial.replaceChildren(written(words.slice(0, firm)) + " ", open);
    this.follow();
  }

  addFinal({ text, start, end }) {
    this.partial.replaceChildren();
    if (!text) return;
    this.segments.push({ text, start, end });
    this.line(text);
  }

  addNote(text) {
    this.line(text).className = "note";
  }

  line(text) {
    const paragraph = document.createElement("p");
    paragraph.textContent = text;
    this.finals.append(paragraph);
    this.follow();
    return paragraph;
  }

  follow() {
    this.frame.scrollTop = this.frame.scrollHeight;
  }

  clear() {
    this.segments = [];
    this.finals.replaceChildren();
    this.partial.replaceChildren();
  }

  get txt() {
    return this.segments.map((s) => s.text + "\n").join("");
  }

  get srt() {
    return this.segments
      .map((s, i) => `${i + 1}\n${srtTime(s.start)} --> ${srtTime(s.end)}\n${s.text}\n`)
      .join("\n");
  }
}
