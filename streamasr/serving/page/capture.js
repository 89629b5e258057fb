// Runs on the audio thread: gathers the microphone's blocks into chunks of 16-bit samples.

const CHUNK_SECONDS = 0.1;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Int16Array(Math.round(sampleRate * CHUNK_SECONDS));
    this.filled = 0;
    this.peak = 0;
    // The rest of a chunk is sent before the recording ends.
    this.port.onmessage = () => { this.send(); this.port.postMessage("flushed"); };
  }

  process([channels]) {
    if (!channels.length) return true;
    for (let i = 0; i < channels[0].length; i++) {
      let sample = 0;
      for (const channel of channels) sample += channel[i] / channels.length;
      this.peak = Math.max(this.peak, Math.abs(sample));
      this.chunk[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      if (this.filled === this.chunk.length) this.send();
    }
    return true;
  }

  send() {
    if (this.filled) {
      const samples = this.chunk.slice(0, this.filled).buffer;
      this.port.postMessage({ samples, peak: this.peak }, [samples]);
    }
    this.filled = 0;
    this.peak = 0;
  }
}

registerProcessor("capture", Capture);
