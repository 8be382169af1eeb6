"""The atlas live: pages made as they are asked for, SQL, photographs of one's own, rendering on request.

Goes in: open indexes. Comes out: an ASGI application, and a server that runs it until it is interrupted.
Imports: atlas, objectives, recipes, render, sheets.
"""
