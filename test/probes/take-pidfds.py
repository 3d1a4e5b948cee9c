"""Takes as many pidfds as the second argument says at the socket of the first, and prints whose they are."""
import json
import os
import socket
import sys

listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.settimeout(30)
# Bound aside and renamed: whoever sees the name can connect.
listener.bind(sys.argv[1] + ".new")
listener.listen(1)
os.rename(sys.argv[1] + ".new", sys.argv[1])


def take():
    connection, _ = listener.accept()
    _, (fd,), _, _ = socket.recv_fds(connection, 64, 1)
    with open(f"/proc/self/fdinfo/{fd}") as file:
        return int(dict(line.split(":", 1) for line in file)["Pid"])


print(json.dumps([take() for _ in range(int(sys.argv[2]))]))
