"""Extensions: parts of the product that not every user needs, each a folder.

An extension uses public names of the other packages and is found through entry points; nothing outside imports it, and
no extension imports another one.
"""
