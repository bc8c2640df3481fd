"""The statement with which artists confirm that they hold the rights. A changed text gets a new version."""

import hashlib

VERSION = "2026-12-01"
TEXT = """\
I own the rights in these recordings, or the license that I hold permits me to sell shares of their income. That covers
the sound recordings, all samples in them, and the cover. Everybody with a claim to the income is listed with a part.
Nobody else has been given these rights, and no other offering sells shares of these recordings. I know that a false
statement can lead to the suspension of the master, to claims for damages and to prosecution.
"""
SHA256 = hashlib.sha256(TEXT.encode()).digest()
