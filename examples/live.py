"""Print what a microphone hears while it is said: python examples/live.py

With a recording's name, that is heard instead, block by block.
"""

import sys

from streamasr import Recognizer
from streamasr.audio import open_audio

recognizer = Recognizer.from_pretrained()
if len(sys.argv) > 1:
    with open_audio(sys.argv[1]) as audio:
        blocks = [*audio.blocks()]  # 16 kHz mono
    events = recognizer.listen(blocks)
else:
    events = recognizer.listen()
for event in events:
    # Partials may still change behind their first event.firm words; finals stay.
    print(f"{event.type:8} {event.segment:3}  {event.text}")
