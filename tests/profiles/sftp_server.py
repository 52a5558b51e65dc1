"""A real SFTP server on loopback, spoken by paramiko over a folder: for tests that would rather not trust a stub."""

import logging
import os
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import paramiko

USER, PASSWORD = "acme", "pass phrase"


class _Door(paramiko.ServerInterface):
    def __init__(self, server: "SftpServer"):
        self.server = server

    def check_auth_password(self, username, password):
        known = (username, password) == (USER, PASSWORD)
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username, key):
        known = username == USER and self.server.client_key and key == self.server.client_key
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username):
        return "password,publickey"

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED


class _Handle(paramiko.SFTPHandle):
    def stat(self):
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))


class _Files(paramiko.SFTPServerInterface):
    def __init__(self, door, *args, **kwargs):
        self.server = door.server
        super().__init__(door, *args, **kwargs)

    def _real(self, path) -> Path:
        return self.server.root / self.canonicalize(path).lstrip("/")

    def _try(self, deed):
        try:
            return deed()
        except OSError as fault:
            return paramiko.SFTPServer.convert_errno(fault.errno)

    def list_folder(self, path):
        return self._try(
            lambda: [
                paramiko.SFTPAttributes.from_stat(entry.stat(), os.fsencode(entry.name))
                for entry in self._real(path).iterdir()
            ]
        )

    def stat(self, path):
        return self._try(lambda: paramiko.SFTPAttributes.from_stat(self._real(path).stat()))

    lstat = stat

    def open(self, path, flags, attr):
        self.server.opened.append(path)
        if self.server.on_open:
            self.server.on_open(self._real(path))
        if self.server.is_read_only and flags & (os.O_WRONLY | os.O_RDWR):
            return paramiko.SFTP_PERMISSION_DENIED

        def deed():
            fd = os.open(self._real(path), flags, 0o600)
            handle = _Handle(flags)
            stream = os.fdopen(fd, "wb" if flags & os.O_WRONLY else "rb", buffering=0)
            handle.readfile = handle.writefile = stream
            return handle

        return self._try(deed)

    def rename(self, old, new):
        if self.server.is_read_only or self.server.refuses_moves:
            return paramiko.SFTP_PERMISSION_DENIED
        return self._try(lambda: os.rename(self._real(old), self._real(new))) or paramiko.SFTP_OK  # noqa: PTH104

    def remove(self, path):
        return self._try(lambda: self._real(path).unlink()) or paramiko.SFTP_OK

    def mkdir(self, path, attr):
        if self.server.is_read_only:
            return paramiko.SFTP_PERMISSION_DENIED
        return self._try(lambda: self._real(path).mkdir()) or paramiko.SFTP_OK


class SftpServer:
    """Listens until closed. `on_open(path)` is called before a file is opened."""

    def __init__(self, root: Path):
        self.root = root
        self.host_key = paramiko.ECDSAKey.generate()
        self.client_key = None
        self.on_open = None
        self.is_read_only = self.refuses_moves = False
        self.opened: list[str] = []
        self._transports: list[paramiko.Transport] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                line, _address = self._socket.accept()
            except OSError:
                return
            transport = paramiko.Transport(line)
            transport.set_log_channel("tests.sftp_server")
            logging.getLogger("tests.sftp_server").setLevel(logging.CRITICAL)
            transport.add_server_key(self.host_key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Files)
            self._transports.append(transport)
            try:
                transport.start_server(server=_Door(self))
            except (paramiko.SSHException, EOFError, OSError):
                transport.close()

    def cut(self):
        """Close every line, as a network that fails."""
        for transport in self._transports:
            transport.close()

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.cut()
        self._thread.join(2)


@contextmanager
def serving(root: Path):
    server = SftpServer(root)
    try:
        yield server
    finally:
        server.close()
