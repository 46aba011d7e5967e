"""The line's controller: one table of registers, one handshake, three ways out (Modbus TCP, OPC UA, digital outputs).

``table`` says what stands where, ``handshake`` what follows from what; both are pure. ``exchange`` holds
the one state that servers and the station's loop share. ``modbus``, ``opcua`` and ``chip`` are the doors of their
libraries and decide nothing. On any doubt NO RESULT, never OK: registers full of zeros mean nothing was inspected.
Not done here: pictures and verdicts, which the station's loop brings.
"""
