// A microphone and the WebSocket that its samples go to: docs/protocol.md.

const SILENT = 0.003; // peak: about -50 dB of full scale
const MOST_WAITING = 2_000_000; // bytes not yet sent; beyond them the connection is too slow

// Browsers clean speech for human ears, and gate and stretch its level: that costs words.
const AS_IT_IS = {
  channelCount: 1,
  echoCancellation: false,
  noiseSuppression: false,
  autoGainControl: false,
};

const REASONS = {
  NotAllowedError: "The microphone was refused: allow it for this page, then start again.",
  NotFoundError: "There is no microphone: connect one, then start again.",
  NotReadableError: "The microphone is in use by another program: close that, then start again.",
};

const CLOSED = {
  1001: "The server is stopping: start again in a moment.",
  1008: "The server refused this page: check the token under Access.",
  1013: "The server is full: try again later.",
};

export class Microphone {
  static async open({ token, onEvent, onLevel, onClose }) {
    if (!navigator.mediaDevices) {
      throw new Error("Browsers give microphones to secure pages only: use https, or localhost.");
    }
    let media;
    try {
      media = await navigator.mediaDevices.getUserMedia({ audio: AS_IT_IS });
    } catch (error) {
      throw new Error(REASONS[error.name] ?? `The microphone cannot be used (${error.message}).`);
    }
    const microphone = new Microphone(media, onEvent, onLevel, onClose);
    try {
      await microphone.connect(token);
    } catch (error) {
      microphone.release();
      throw error;
    }
    return microphone;
  }

  constructor(media, onEvent, onLevel, onClose) {
    Object.assign(this, { media, onEvent, onLevel, onClose, silentFor: 0 });
    this.context = new AudioContext();
  }

  async connect(token) {
    await this.context.audioWorklet.addModule(new URL("./capture.js", import.meta.url));
    const address = new URL("v1/stream", document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    // Browsers cannot send headers here; a subprotocol carries the token out of the address.
    const protocols = token ? ["streamasr", `bearer.${token}`] : ["streamasr"];
    this.socket = new WebSocket(address, protocols);
    await new Promise((resolve, reject) => {
      this.socket.onopen = resolve;
      this.socket.onclose = (event) =>
        reject(new Error(CLOSED[event.code] ?? "The server cannot be reached, or refused the token."));
    });
    this.socket.onmessage = (message) => this.take(JSON.parse(message.data));
    this.socket.onclose = (event) => this.ended(event);
    this.socket.send(JSON.stringify({
      type: "start", sample_rate: this.context.sampleRate, format: "pcm_s16le",
    }));
    this.capture = new AudioWorkletNode(this.context, "capture", { numberOfOutputs: 0 });
    this.capture.port.onmessage = ({ data }) => this.heard(data);
    this.context.createMediaStreamSource(this.media).connect(this.capture);
    this.media.getTracks()[0].onended = () => this.stop();
  }

  heard(data) {
    if (data === "flushed") return this.flushed?.();
    if (this.socket.readyState !== WebSocket.OPEN) return;
    if (this.socket.bufferedAmount > MOST_WAITING) {
      this.failure = "The connection is too slow for sound: stopped.";
      this.socket.close();
      return;
    }
    this.socket.send(data.samples);
    const seconds = data.samples.byteLength / 2 / this.context.sampleRate;
    this.silentFor = data.peak < SILENT ? this.silentFor + seconds : 0;
    this.onLevel(data.peak);
  }

  take(event) {
    if (event.type === "error") this.failure = event.message;
    this.onEvent(event);
  }

  // The last samples go out, then the end is said; the server answers with the last words and closes.
  async stop() {
    if (this.stopping) return;
    this.stopping = true;
    const flushed = new Promise((resolve) => { this.flushed = resolve; });
    this.capture.port.postMessage("flush");
    await flushed;
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "end" }));
  }

  ended(event) {
    this.release();
    const expected = this.stopping && event.code === 1000;
    this.onClose(this.failure ?? (expected ? "" : CLOSED[event.code] ?? "The connection was lost."));
  }

  release() {
    this.media.getTracks().forEach((track) => track.stop());
    this.context.close();
    if (this.socket && this.socket.readyState <= WebSocket.OPEN) this.socket.close();
  }
}
