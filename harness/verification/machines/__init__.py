"""Where cells run: processes of this machine, or a Ray cluster, behind one interface.

A command makes `Cell`s and hands them to `Machines.run`, which tells as it comes what they found, that they are over, and which
were lost with a node and are run again.
"""

from harness.verification.machines.cell import Cell, Found, Here, Lost, Machines, Needs, Over, Packed
from harness.verification.machines.processes import Processes

__all__ = ["Cell", "Found", "Here", "Lost", "Machines", "Needs", "Over", "Packed", "Processes"]
