"""Stream a recording to a server: python examples/websocket_client.py ws://HOST:2700 talk.wav"""

import json
import sys
from collections.abc import Iterator
from threading import Thread

import soundfile
from websockets.sync.client import ClientConnection, connect


def send(socket: ClientConnection, path: str) -> None:
    """Send a mono recording as 16-bit samples, a tenth of a second at a time."""
    with soundfile.SoundFile(path) as file:
        start = {"type": "start", "sample_rate": file.samplerate, "format": "pcm_s16le"}
        socket.send(json.dumps(start))
        for block in file.blocks(file.samplerate // 10, dtype="int16"):
            socket.send(block.tobytes())
    socket.send(json.dumps({"type": "end"}))


def events(socket: ClientConnection) -> Iterator[dict[str, str]]:
    """Yield what the server says, until it is done."""
    for message in socket:
        event = json.loads(message)
        if event["type"] == "done":
            return
        yield event


with connect(f"{sys.argv[1]}/v1/stream") as socket:
    Thread(target=send, args=(socket, sys.argv[2])).start()
    for event in events(socket):
        print(event["type"], event.get("text", ""))
