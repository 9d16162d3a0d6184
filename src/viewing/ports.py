"""Check ports before a server starts, so that a taken one is reported before anything slow."""

import socket

from src.conventions import UserError


def check_ports(host: str, *ports: int) -> None:
    """Check that a server can listen on these ports; UserError when the host has no such address or one is taken."""
    for port in ports:
        try:
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((host, port))
        except OSError as error:
            raise UserError(f"{host}, port {port}: {error.strerror}. Choose another --port.") from None
