"""The signs of the lights: each has a shape of its own, so that they say the same without colour."""

SYMBOLS = (
    '<svg width="0" height="0" aria-hidden="true" class="symbols">'
    '<symbol id="light-green" viewBox="0 0 20 20"><circle class="ground" cx="10" cy="10" r="9"/>'
    '<path class="sign" d="M5.5 10.5l3 3 6-7"/></symbol>'
    '<symbol id="light-yellow" viewBox="0 0 20 20"><path class="ground" d="M10 1.2 19.4 18.2H.6z"/>'
    '<path class="sign" d="M10 7v5M10 14.9v.3"/></symbol>'
    '<symbol id="light-red" viewBox="0 0 20 20">'
    '<path class="ground" d="M6.3 1h7.4L19 6.3v7.4L13.7 19H6.3L1 13.7V6.3z"/>'
    '<path class="sign" d="M6.8 6.8l6.4 6.4M13.2 6.8l-6.4 6.4"/></symbol>'
    '<symbol id="light-grey" viewBox="0 0 20 20"><circle class="ring" cx="10" cy="10" r="8"/>'
    '<path class="mark" d="M7.4 7.9a2.6 2.6 0 1 1 3.7 2.4c-.8.4-1.1.8-1.1 1.6M10 14.4v.3"/></symbol></svg>'
)
