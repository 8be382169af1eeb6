from viz.atlas.build import build_atlas as build_atlas
from viz.recipes.catalog import RECIPES as RECIPES
from viz.recipes.catalog import get_recipe as get_recipe
from viz.render.render_index import render_index as render_index
from viz.render.render_units import render_units as render_units
from viz.sheets.pages import draw_sheets as draw_sheets
