"""Transcribe a recording: python examples/transcribe_file.py talk.mp3"""

import sys

from streamasr import Recognizer

recognizer = Recognizer.from_pretrained()  # the bundled English model
transcript = recognizer.transcribe(sys.argv[1])
for word in transcript.words:
    print(f"{word.start:7.2f} {word.end:7.2f} {word.confidence:5.2f}  {word.text}")
print(transcript.text)
