"""Ask a server as OpenAI is asked: python examples/openai_client.py http://HOST:2700 talk.mp3"""

import sys
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none")
with Path(sys.argv[2]).open("rb") as file:
    print(client.audio.transcriptions.create(model="streamasr", file=file).text)
