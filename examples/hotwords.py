"""Prefer names: python examples/hotwords.py talk.wav "Villefort" "Nagasaki harbour" """

import sys

from streamasr import Recognizer

path, *phrases = sys.argv[1:]
recognizer = Recognizer.from_pretrained(hotwords=phrases)
for hotword, reason in recognizer.unusable_hotwords:
    print(f"{hotword.text}: {reason}", file=sys.stderr)
print(recognizer.transcribe(path).text)
