"""Transcribe samples of your own, at once and block by block: python examples/arrays.py talk.wav"""

import sys

import soundfile

from streamasr import Recognizer

samples, sample_rate = soundfile.read(sys.argv[1], dtype="float32")  # mono: (n,)
recognizer = Recognizer.from_pretrained()
print(recognizer.transcribe(samples, sample_rate=sample_rate).text)

stream = recognizer.stream()
size = sample_rate // 4
for start in range(0, len(samples), size):
    stream.accept(samples[start : start + size], sample_rate=sample_rate)
    print("…", stream.partial().text)
print(stream.finish().text)
