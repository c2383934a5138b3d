"""How inserted text is joined to what the client has already read.

An intervention starts where the released text ends and must read as its continuation: inside a code
block, a list or a sentence it closes that first. This file looks at the released text once and says
what has to be closed; it knows no template and no language beyond punctuation.
"""
