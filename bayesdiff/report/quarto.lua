-- The subset of Quarto that bayesdiff's reports use, for pandoc alone: numbered figures, tables, equations and sections
-- with their references, callouts and tabs. What cannot be resolved is written to stderr as "problem: ...".
-- Text from users goes through pandoc's own writer or `escape`, never into raw HTML as it is.

local NAMES = {fig = "Figure", tbl = "Table", eq = "Equation", sec = "Section"}
local count, places, section = {fig = 0, tbl = 0, eq = 0}, {}, {}
local tabsets = 0

local function problem(text) io.stderr:write("problem: " .. text .. "\n") end
local function raw(text) return pandoc.RawBlock("html", text) end
local function escape(text)
  return (text:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;"):gsub('"', "&quot;"))
end
local function kind_of(id)
  local kind = (id or ""):match("^(%a+)%-")
  return NAMES[kind] and kind or nil
end

local function number(kind, id)
  if places[id] then problem("the label " .. id .. " is used twice") end
  count[kind] = count[kind] + 1
  places[id] = NAMES[kind] .. " " .. count[kind]
  return count[kind]
end

local function caption_of(kind, n, inlines)
  local head = pandoc.Inlines{pandoc.Strong{pandoc.Str(NAMES[kind] .. " " .. n .. ".")}, pandoc.Space()}
  return pandoc.Plain(head .. inlines)
end

local function figure(kind, id, body, inlines)
  local n = number(kind, id)
  local blocks = pandoc.Blocks{raw('<figure class="float-' .. kind .. '" id="' .. escape(id) .. '">')}
  local caption = pandoc.Blocks{raw("<figcaption>"), caption_of(kind, n, inlines), raw("</figcaption>")}
  if #inlines == 0 then problem("the caption of " .. id .. " is missing") end
  local boxed = pandoc.Blocks{raw('<div class="' .. (kind == "fig" and "wide" or "table") .. '">')}
  boxed:extend(body)
  boxed:insert(raw("</div>"))
  if kind == "tbl" then blocks:extend(caption) end
  blocks:extend(boxed)
  if kind == "fig" then blocks:extend(caption) end
  blocks:insert(raw("</figure>"))
  return blocks
end

local function float(div)
  local kind = kind_of(div.identifier)
  if kind ~= "fig" and kind ~= "tbl" then return nil end
  local last = div.content:remove(#div.content)
  local inlines = last and (last.tag == "Para" or last.tag == "Plain") and last.content or pandoc.Inlines{}
  local body = div.content:walk{
    Para = function(p) return pandoc.Plain(p.content) end,
    -- An image that stands alone was read as a figure of its own.
    Figure = function(f) return f.content end,
  }
  return figure(kind, div.identifier, body, inlines)
end

local function callout(div)
  local sort
  for _, class in ipairs(div.classes) do sort = sort or class:match("^callout%-(%a+)$") end
  if not sort then return nil end
  local title = div.attributes.title
  if not title and div.content[1] and div.content[1].tag == "Header" then
    title = pandoc.utils.stringify(div.content:remove(1))
  end
  title = escape(title or (sort:sub(1, 1):upper() .. sort:sub(2)))
  local folds = div.attributes.collapse
  local blocks
  if folds then
    local open = folds == "false" and " open" or ""
    blocks = pandoc.Blocks{raw('<details class="callout callout-' .. sort .. '"' .. open .. "><summary>" .. title .. "</summary>")}
  else
    blocks = pandoc.Blocks{raw('<div class="callout callout-' .. sort .. '"><p class="callout-title">' .. title .. "</p>")}
  end
  blocks:extend(div.content)
  blocks:insert(raw(folds and "</details>" or "</div>"))
  return blocks
end

local function tabset(div)
  if not div.classes:includes("panel-tabset") then return nil end
  local tabs = {}
  for _, block in ipairs(div.content) do
    if block.tag == "Header" then
      tabs[#tabs + 1] = {title = escape(pandoc.utils.stringify(block)), body = pandoc.Blocks{}}
    elseif #tabs > 0 then
      tabs[#tabs].body:insert(block)
    end
  end
  if #tabs == 0 then problem("a panel-tabset has no heading") end
  if #tabs > 8 then problem("a panel-tabset has " .. #tabs .. " tabs, and at most 8 are drawn") end
  tabsets = tabsets + 1
  local group = "tabs-" .. tabsets
  local blocks = pandoc.Blocks{raw('<div class="tabset">')}
  for i, tab in ipairs(tabs) do
    local id = group .. "-" .. i
    blocks:insert(raw(('<input type="radio" name="%s" id="%s"%s><label for="%s">%s</label>'):format(
      group, id, i == 1 and " checked" or "", id, tab.title)))
  end
  for _, tab in ipairs(tabs) do
    blocks:insert(raw("<section>"))
    blocks:extend(tab.body)
    blocks:insert(raw("</section>"))
  end
  blocks:insert(raw("</div>"))
  return blocks
end

local numbering = {
  traverse = "topdown",
  Header = function(h)
    if h.classes:includes("unnumbered") then return nil end
    for level = h.level + 1, 9 do section[level] = nil end
    section[h.level] = (section[h.level] or 0) + 1
    if kind_of(h.identifier) == "sec" then
      local digits = {}
      for level = 1, h.level do if section[level] then digits[#digits + 1] = tostring(section[level]) end end
      places[h.identifier] = "Section " .. table.concat(digits, ".")
    end
  end,
  Div = function(d) return float(d) or callout(d) or tabset(d) end,
  Figure = function(f)  -- ![caption](file){#fig-name}
    local image
    f:walk{Image = function(i) image = image or i end}
    if kind_of(f.identifier) ~= "fig" or not image then return nil end
    local first = f.caption.long[1]
    return figure("fig", f.identifier, pandoc.Blocks{pandoc.Plain{image}}, first and first.content or pandoc.Inlines{}), false
  end,
  Table = function(t)  -- : caption {#tbl-name}
    if kind_of(t.identifier) ~= "tbl" then return nil end
    local id, first = t.identifier, t.caption.long[1]
    t.identifier, t.caption.long = "", pandoc.Blocks{}
    return figure("tbl", id, pandoc.Blocks{t}, first and first.content or pandoc.Inlines{}), false
  end,
  Para = function(p)  -- $$ ... $$ {#eq-name}
    local first, last = p.content[1], p.content[#p.content]
    if not (first and first.tag == "Math" and first.mathtype == "DisplayMath" and last.tag == "Str") then return nil end
    local id = last.text:match("^{#(eq%-[%w_%-]+)}$")
    if not id then return nil end
    local n = number("eq", id)
    return {raw('<div class="equation" id="' .. id .. '">'), pandoc.Plain{first}, raw('<span class="number">(' .. n .. ")</span></div>")}
  end,
}

local links = {
  Image = function(i)
    local alt = i.attributes["fig-alt"]
    if alt then i.attributes.alt, i.attributes["fig-alt"] = alt, nil end
    return i
  end,
  Cite = function(c)
    local targets = {}
    for _, citation in ipairs(c.citations) do
      if not kind_of(citation.id) then return nil end
      targets[#targets + 1] = citation.id
    end
    local inlines = pandoc.Inlines{}
    for i, id in ipairs(targets) do
      if i > 1 then inlines:extend{pandoc.Str(","), pandoc.Space()} end
      if places[id] then
        inlines:insert(pandoc.Link(places[id], "#" .. id))
      else
        problem("@" .. id .. " refers to nothing")
        inlines:insert(pandoc.Str("?@" .. id))
      end
    end
    return inlines
  end,
}

function Pandoc(doc)
  for i, block in ipairs(doc.blocks) do  -- what is computed cannot stand in the front matter
    if block.tag == "Div" and block.classes:includes("abstract") then
      doc.meta.abstract = pandoc.MetaBlocks(block.content)
      doc.blocks:remove(i)
      break
    end
  end
  return doc:walk(numbering):walk(links)
end
