"""A network between a device and its broker that fails as it is told; TLS passes through."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Proxy:
    """Passes connections to ``localhost:target_port`` on."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._accepting = True
        self._deaf = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection without a reason."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def vanish(self) -> None:
        """The same, and let nobody in."""
        self._accepting = False
        self.cut()

    def swallow_answers(self) -> None:
        """What the device sends arrives; what the broker answers does not."""
        self._deaf = True

    def come_back(self) -> None:
        """Work again, for new connections; the old ones have missed something, and end."""
        self._accepting, self._deaf = True, False
        self.cut()

    def close(self) -> None:
        self.vanish()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                device, _ = self._listener.accept()
                if not self._accepting:
                    device.close()
                    continue
                broker = socket.create_connection(("127.0.0.1", self._target_port))
                for source, sink, answers in ((device, broker, False), (broker, device, True)):
                    threading.Thread(
                        target=self._copy, args=(source, sink), kwargs={"answers": answers},
                        daemon=True,
                    ).start()  # fmt: skip

    def _copy(self, source: socket.socket, sink: socket.socket, *, answers: bool) -> None:
        self._open.add(source)
        with contextlib.suppress(OSError), source:
            while data := source.recv(65536):
                if not (answers and self._deaf):
                    sink.sendall(data)
        self._open.discard(source)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def between(target_port: int) -> Iterator[Proxy]:
    """A proxy before that port."""
    proxy = Proxy(target_port)
    try:
        yield proxy
    finally:
        proxy.close()
