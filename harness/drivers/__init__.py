"""The two driver processes, the protocol that they speak, and the captures that they write."""
