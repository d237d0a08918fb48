"""Hold clients in every language to one list of behaviours: `make clients`.

behaviours.py   the list: what a client must do, judged from what its driver prints
driving.py      talk to a driver: a small program in the client's language that uses its public API only
serving.py      the server under test: started, killed, started again, over each transport
served.py       the program that it is, with the workflows of flows.py
proxies.py      a path to it that can be cut, or go silent
newer.py        a server of a later release
python_*.py     the drivers of the two clients in Python
"""
