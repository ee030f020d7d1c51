"""Writes digits.idx3-ubyte.gz. Usage: python3 make_digits.py train-images-idx3-ubyte.gz digits.idx3-ubyte.gz"""

import gzip
import struct
import sys

N = 10_000
header = struct.pack(">4I", 0x803, N, 28, 28)
with gzip.open(sys.argv[1]) as source:
    images = source.read(16 + N * 28 * 28)[16:]
with open(sys.argv[2], "wb") as out:
    out.write(gzip.compress(header + images, 9, mtime=0))
