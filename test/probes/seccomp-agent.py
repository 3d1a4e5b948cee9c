"""
Answers one seccomp notification with EEXIST, and prints the state that came with its descriptor.
The second argument, if any, says how many filters come before the one that is answered.
"""
import fcntl
import json
import os
import socket
import struct
import sys

RECV, SEND = 0xC0502100, 0xC0182101

listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.settimeout(30)
# Bound aside and renamed: whoever sees the name can connect.
listener.bind(sys.argv[1] + ".new")
listener.listen(1)
os.rename(sys.argv[1] + ".new", sys.argv[1])


def receive():
    connection, _ = listener.accept()
    text, (fd,), _, _ = socket.recv_fds(connection, 65536, 1)
    return text, fd


before = [receive() for _ in range(int(sys.argv[2] if len(sys.argv) > 2 else 0))]
text, fd = receive()
request = bytearray(80)
fcntl.ioctl(fd, RECV, request)
(cookie,) = struct.unpack_from("<Q", request)
fcntl.ioctl(fd, SEND, bytearray(struct.pack("<QqiI", cookie, 0, -17, 0)))
print(json.dumps(json.loads(text)))
