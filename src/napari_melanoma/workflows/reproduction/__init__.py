"""Reproduce a paper: train and judge every row of its tables on the user's data, beside its own figures.

``run`` is the entry, for a verb or a script. What a paper says stands in ``papers``, read by ``paper_files`` from a
folder of ``training/recipes``; how a kind of row is judged in ``kinds``. ``request`` finds what the user named
(``roles``: which data set is which), ``planner`` completes the ``plan`` with what ``split``, ``pace`` and ``budget``
say. ``rows`` is the loop: ``learning``, ``judging``. ``found`` reads back what rows came to, ``reduced`` says what was
less, ``tables`` and ``figures`` show it. ``place`` names the files of it all.
"""
