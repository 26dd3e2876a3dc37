-- A Wireshark dissector for the wire protocol of vega, version 1.
--
-- docs/wire-protocol.md says what each field means; the layouts below are in its order, under its names.
-- Install this file in the folder of personal Lua plugins (Help > About Wireshark > Folders), or name it:
--
--     wireshark -X lua_script:tools/wireshark/vega.lua
--
-- No port has to be configured: packets are recognized by their first bytes. What a receiver would refuse is
-- shown as far as it can be read, with expert information `vega.malformed`. Two things are not checked: topic
-- hashes, and what only the state of a session can tell.
--
-- For Lua 5.2 and later, so without the integers and bit operators that Wireshark has only since 4.4.

local vega = Proto("vega", "vega publish/subscribe")

local VERSION = 1
local PREFIX_LENGTH = 8
local SESSION_AT = 8
local FRAME_HEADER_LENGTH = 24
local FRAME_ALIGNMENT = 8
local REQUEST_PREFIX_LENGTH = 40
local RESPONSE_PREFIX_LENGTH = 24
local LOCATOR_LENGTH = 24
local MAX_DISCOVERY_BYTES = 1408
-- The maximum length of a session's packets is a multiple of this.
local SLOT_UNIT = 64
local MAX_RANGES = 64
local MAX_HEARD = 43
local MAX_WHO = 87
local MAX_ROLL = 80

-- Names of topics that are remembered, so that a capture cannot take all memory.
local MAX_TOPICS = 65536
-- What an Info column has room for.
local MAX_LISTED = 4

local KINDS = {
    [1] = "data", [2] = "heartbeat", [3] = "status", [4] = "NAK", [5] = "welcome", [6] = "gone",
    [16] = "ANNOUNCE", [17] = "CHANGES", [18] = "ASK", [19] = "GOODBYE", [20] = "REGISTER",
    [21] = "TICKET", [22] = "RELAY", [23] = "HEARD", [24] = "WHO", [25] = "CALL", [26] = "PRESENT",
}
local FIRST_OF_DISCOVERY = 16
local RELAYED = { [16] = true, [17] = true, [19] = true }

local MESSAGE, REQUEST, RESPONSE = 1, 2, 3
local FRAME_KINDS = {
    [MESSAGE] = "message", [REQUEST] = "request", [RESPONSE] = "response", [254] = "padding", [255] = "end",
}
local ADD, REMOVE = 1, 2
local OPERATIONS = { [ADD] = "add", [REMOVE] = "remove" }
local SIDES = { [1] = "publisher", [2] = "subscriber" }
local TRANSPORTS = { [1] = "multicast", [2] = "unicast", [3] = "shared memory" }
local FAMILIES = { [4] = "IPv4", [6] = "IPv6" }

-- Bits of flags, as they are named in the document.
local STATUS_WANTED, JOINING, DIRECT = 1, 1, 1
local RESET, END_OF_LOG = 1, 2
local HAS_LOCATOR, HAS_SESSION = 1, 2
local BEGIN, END = 1, 2

---------------------------------------------------------------------------------------------------------------
-- Fields
---------------------------------------------------------------------------------------------------------------

local NANOSECONDS, MILLISECONDS = { " ns" }, { " ms" }

local f = {
    magic = ProtoField.string("vega.magic", "Magic"),
    version = ProtoField.uint8("vega.version", "Version"),
    kind = ProtoField.uint8("vega.kind", "Kind", base.DEC, KINDS),
    length = ProtoField.uint16("vega.length", "Length"),
    flags = ProtoField.uint16("vega.flags", "Flags", base.HEX),
    status_wanted = ProtoField.bool("vega.flags.status_wanted", "STATUS_WANTED", 16, nil, STATUS_WANTED),
    joining = ProtoField.bool("vega.flags.joining", "JOINING", 16, nil, JOINING),
    reserved = ProtoField.bytes("vega.reserved", "Reserved"),
    ignored = ProtoField.bytes("vega.ignored", "Bytes beyond the packet"),

    -- The instance that sends the packet, and the one that it is for, in every packet that names them.
    instance = ProtoField.guid("vega.instance", "Instance"),
    target = ProtoField.guid("vega.target", "For instance"),

    session = ProtoField.uint64("vega.session", "Session", base.HEX),
    sequence = ProtoField.uint64("vega.sequence", "Packet sequence"),
    stream = ProtoField.uint32("vega.stream", "Stream"),

    next = ProtoField.uint64("vega.heartbeat.next", "Next packet"),
    round_trip = ProtoField.uint64("vega.heartbeat.round_trip", "Round trip", base.UNIT_STRING, NANOSECONDS),
    receivers = ProtoField.uint32("vega.heartbeat.receivers", "Receivers"),
    probe = ProtoField.uint32("vega.heartbeat.probe", "Probe"),

    consumed = ProtoField.uint64("vega.status.consumed", "Consumed"),
    window = ProtoField.uint32("vega.status.window", "Window"),
    echo = ProtoField.uint32("vega.status.echo", "Echo"),
    tag = ProtoField.uint32("vega.status.tag", "Tag"),
    port = ProtoField.uint16("vega.status.port", "Port"),
    range = ProtoField.none("vega.nak.range", "Missing"),
    distance = ProtoField.uint32("vega.nak.distance", "Distance"),
    packets = ProtoField.uint32("vega.nak.packets", "Packets"),
    first = ProtoField.uint64("vega.nak.first", "First missing packet"),

    start = ProtoField.uint64("vega.welcome.start", "First packet for the receiver"),
    welcome_port = ProtoField.uint16("vega.welcome.port", "Port of the receiver"),
    oldest = ProtoField.uint64("vega.gone.oldest", "Oldest packet that can be repeated"),

    frame = ProtoField.none("vega.frame", "Frame"),
    frame_length = ProtoField.uint16("vega.frame.length", "Length"),
    frame_kind = ProtoField.uint8("vega.frame.kind", "Kind", base.DEC, FRAME_KINDS),
    frame_flags = ProtoField.uint8("vega.frame.flags", "Flags", base.HEX),
    frame_begin = ProtoField.bool("vega.frame.begin", "BEGIN", 8, nil, BEGIN),
    frame_end = ProtoField.bool("vega.frame.end", "END", 8, nil, END),
    publisher = ProtoField.uint32("vega.frame.publisher", "Publisher"),
    message = ProtoField.uint64("vega.frame.sequence", "Message sequence"),
    total = ProtoField.uint32("vega.frame.total", "Total"),
    offset = ProtoField.uint32("vega.frame.offset", "Offset"),
    payload = ProtoField.bytes("vega.payload", "Payload"),
    padding = ProtoField.bytes("vega.frame.padding", "Padding"),
    topic_hash = ProtoField.uint64("vega.topic.hash", "Topic hash", base.HEX),
    topic = ProtoField.string("vega.topic", "Topic"),

    request = ProtoField.uint64("vega.request", "Request", base.HEX),
    request_timeout = ProtoField.uint64("vega.request.timeout", "Timeout", base.UNIT_STRING, NANOSECONDS),
    reply_to = ProtoField.string("vega.request.reply_to", "Reply to"),
    requester = ProtoField.guid("vega.response.requester", "Requester"),

    family = ProtoField.uint8("vega.locator.family", "Family", base.DEC, FAMILIES),
    locator_port = ProtoField.uint16("vega.locator.port", "Port"),
    locator_stream = ProtoField.uint32("vega.locator.stream", "Stream"),
    ipv4 = ProtoField.ipv4("vega.locator.ipv4", "Address"),
    ipv6 = ProtoField.ipv6("vega.locator.ipv6", "Address"),

    control = ProtoField.string("vega.control", "Control socket"),
    responses = ProtoField.string("vega.announce.responses", "Response socket"),
    host = ProtoField.uint64("vega.announce.host", "Host", base.HEX),
    head = ProtoField.uint64("vega.head", "Head of the log"),
    digest = ProtoField.uint64("vega.digest", "Digest", base.HEX),
    interval = ProtoField.uint32("vega.announce.interval", "Interval", base.UNIT_STRING, MILLISECONDS),
    timeout = ProtoField.uint32("vega.announce.timeout", "Timeout", base.UNIT_STRING, MILLISECONDS),
    announce_flags = ProtoField.uint8("vega.announce.flags", "Flags", base.HEX),
    direct = ProtoField.bool("vega.announce.direct", "DIRECT", 8, nil, DIRECT),
    name_length = ProtoField.uint8("vega.announce.name_length", "Name length"),
    name = ProtoField.string("vega.announce.name", "Name"),

    from = ProtoField.uint64("vega.changes.from", "From"),
    to = ProtoField.uint64("vega.changes.to", "To"),
    changes_flags = ProtoField.uint8("vega.changes.flags", "Flags", base.HEX),
    reset = ProtoField.bool("vega.changes.reset", "RESET", 8, nil, RESET),
    end_of_log = ProtoField.bool("vega.changes.end", "END", 8, nil, END_OF_LOG),
    count = ProtoField.uint16("vega.changes.count", "Entries"),
    change = ProtoField.none("vega.change", "Change"),
    operation = ProtoField.uint8("vega.change.operation", "Operation", base.DEC, OPERATIONS),
    key = ProtoField.uint64("vega.change.key", "Key"),
    side = ProtoField.uint8("vega.advert.kind", "Kind", base.DEC, SIDES),
    transport = ProtoField.uint8("vega.advert.transport", "Transport", base.DEC, TRANSPORTS),
    parts = ProtoField.uint8("vega.advert.parts", "Parts", base.HEX),
    has_locator = ProtoField.bool("vega.advert.has_locator", "has a locator", 8, nil, HAS_LOCATOR),
    has_session = ProtoField.bool("vega.advert.has_session", "has a session", 8, nil, HAS_SESSION),
    topic_length = ProtoField.uint8("vega.advert.topic_length", "Topic length"),
    advert_locator = ProtoField.string("vega.advert.locator", "Locator"),

    have = ProtoField.uint64("vega.ask.have", "Have"),
    horizon = ProtoField.uint64("vega.ask.horizon", "Horizon"),

    daemon = ProtoField.guid("vega.daemon", "Daemon"),
    ticket = ProtoField.uint64("vega.ticket", "Ticket", base.HEX),
    relayed = ProtoField.none("vega.relayed", "Relayed packet"),
    heard = ProtoField.none("vega.heard", "Heard"),
    listed = ProtoField.guid("vega.listed", "Instance"),

    call = ProtoField.none("vega.roll", "Entry"),
    round = ProtoField.uint64("vega.roll.number", "Number of the round", base.HEX),
}

vega.fields = f

local expert_of = {
    malformed = ProtoExpert.new("vega.malformed", "A receiver refuses this", expert.group.MALFORMED,
        expert.severity.ERROR),
    cut = ProtoExpert.new("vega.cut", "The capture has not all of the packet", expert.group.UNDECODED,
        expert.severity.NOTE),
    unknown = ProtoExpert.new("vega.unknown", "Of a later revision", expert.group.UNDECODED,
        expert.severity.NOTE),
}

vega.experts = expert_of

---------------------------------------------------------------------------------------------------------------
-- Topic names: data carries hashes only, and adverts tell the names
---------------------------------------------------------------------------------------------------------------

local topics, topic_count = {}, 0

function vega.init()
    topics, topic_count = {}, 0
end

local function learn(hash, name)
    if not topics[hash] and topic_count < MAX_TOPICS then
        topics[hash] = name
        topic_count = topic_count + 1
    end
end

---------------------------------------------------------------------------------------------------------------
-- Text
---------------------------------------------------------------------------------------------------------------

local function hex(value)
    return value:tohex(16)
end

local function has(flags, bit)
    return math.floor(flags / bit) % 2 == 1
end

local function plural(count, noun)
    return string.format("%d %s%s", count, noun, count == 1 and "" or "s")
end

-- Enough of an instance's id to tell it from others.
local function short(range)
    return range(0, 4):bytes():tohex(true)
end

-- The first few, and how many more there are.
local function listing(items)
    local more = #items - MAX_LISTED
    local text = table.concat(items, ", ", 1, math.min(#items, MAX_LISTED))
    return more > 0 and string.format("%s and %d more", text, more) or text
end

local function locator_text(range)
    local family, port, stream = range(0, 1):uint(), range(2, 2):le_uint(), range(4, 4):le_uint()
    local socket
    if family == 4 then
        socket = string.format("%s:%d", tostring(range(8, 4):ipv4()), port)
    elseif family == 6 then
        socket = string.format("[%s]:%d", tostring(range(8, 16):ipv6()), port)
    else
        return string.format("address family %d", family)
    end
    return string.format("%s, stream %d", socket, stream)
end

---------------------------------------------------------------------------------------------------------------
-- Reader: takes fields off the front of a part of a packet, and shows each where it is
---------------------------------------------------------------------------------------------------------------

local Reader = {}
Reader.__index = Reader

-- `to` is where the part ends by what the packet says; the capture may end before.
function Reader.new(tvb, from, to, tree)
    return setmetatable({ tvb = tvb, at = from, to = to, tree = tree }, Reader)
end

-- What is wrong is thrown, and caught where the packet began: nothing behind it can be read.
function Reader:refuse(text, which)
    error({ tree = self.tree, expert = which or expert_of.malformed, text = text })
end

function Reader:check(is_right, text)
    if not is_right then
        self:refuse(text)
    end
end

function Reader:left()
    return self.to - self.at
end

-- The next bytes, which stay. All access to the packet goes through here.
function Reader:peek(length)
    self:check(length <= self:left(), "truncated")
    if self.at + length > self.tvb:len() then
        self:refuse("cut by the capture", expert_of.cut)
    end
    return self.tvb(self.at, length)
end

function Reader:take(length)
    local range = self:peek(length)
    self.at = self.at + length
    return range
end

function Reader:number(field, length)
    local range = self:take(length)
    return range:le_uint(), self.tree:add_le(field, range), range
end

function Reader:u8(field)
    return self:number(field, 1)
end

function Reader:u16(field)
    return self:number(field, 2)
end

function Reader:u32(field)
    return self:number(field, 4)
end

-- As an object: Lua's own numbers have 53 bits.
function Reader:u64(field)
    local range = self:take(8)
    self.tree:add_le(field, range)
    return range:le_uint64()
end

-- Sequences of packets and messages end at 2^63 - 1.
function Reader:sequence(field)
    local value = self:u64(field)
    self:check(value:higher() < 2 ^ 31, "a sequence that no session reaches")
    return value
end

-- Flags of one byte, bit by bit.
function Reader:flags(field, bits)
    local value, item, range = self:u8(field)
    for _, bit in ipairs(bits) do
        item:add(bit, range)
    end
    return value
end

-- One of the values that have a name.
function Reader:named(field, names, what)
    local value = self:u8(field)
    self:check(names[value], what)
    return value
end

function Reader:instance(field)
    local range = self:take(16)
    self.tree:add(field, range)
    return short(range)
end

-- Whatever is there; nothing if there is none.
function Reader:bytes(field, length)
    if length > 0 then
        self.tree:add(field, self:take(length))
    end
end

function Reader:text(field, length)
    if length == 0 then
        return ""
    end
    local range = self:take(length)
    local text = range:string(ENC_UTF_8)
    self.tree:add(field, range, text)
    -- What is no UTF-8 has been replaced, and what follows a NUL is not shown.
    self:check(text == range:raw():match("^[^\0]*"), "text that is not UTF-8")
    return (text:gsub("%c", "."))
end

-- The topic's hash, and its name if an advert has told it.
function Reader:topic_hash()
    local hash = hex(self:u64(f.topic_hash))
    local name = topics[hash]
    if name then
        self.tree:add(f.topic, self.tvb(self.at - 8, 8), name):set_generated()
    end
    return name or hash
end

-- A part with a line of its own. It is `length` bytes long, or as long as what is read of it.
function Reader:open(field, length)
    local to = length and self.at + length or self.to
    self:check(to > self.at and to <= self.to, "truncated")
    local captured = math.min(to, self.tvb:len()) - self.at
    local item = self.tree:add(field, self:peek(math.max(captured, 1)))
    return Reader.new(self.tvb, self.at, to, item)
end

function Reader:close(part)
    part.tree:set_len(part.at - self.at)
    self.at = part.at
end

function Reader:locator(field)
    local range = self:peek(LOCATOR_LENGTH)
    local text = locator_text(range)
    local part = Reader.new(self.tvb, self.at, self.at + LOCATOR_LENGTH, self.tree:add(field, range, text))
    local family = part:named(f.family, FAMILIES, "address family of a locator")
    part:bytes(f.reserved, 1)
    local port = part:u16(f.locator_port)
    part:u32(f.locator_stream)
    if family == 4 then
        part.tree:add(f.ipv4, part:take(4))
        part:bytes(f.reserved, 12)
    else
        local address = part:take(16)
        part.tree:add(f.ipv6, address)
        local is_mapped = address(0, 12):bytes():tohex() == "00000000000000000000FFFF"
        part:check(not is_mapped, "IPv4 address of an IPv6 locator")
    end
    part:check(port ~= 0, "port of a locator")
    self:close(part)
    return text
end

-- Entries of one length up to the end of the packet: one at least, `most` at most, no half ones.
function Reader:entries(field, length, most, read)
    local count = self:left() / length
    self:check(count >= 1 and count <= most and count == math.floor(count), "number of entries")
    for _ = 1, count do
        local entry = self:open(field, length)
        read(entry)
        self:close(entry)
    end
end

---------------------------------------------------------------------------------------------------------------
-- Sessions
---------------------------------------------------------------------------------------------------------------

-- What follows the prefix in all packets of a sender. The number means something else in each kind.
local function packet_header(reader, number_field)
    local session = hex(reader:u64(f.session))
    local number = reader:sequence(number_field)
    local stream = reader:u32(f.stream)
    reader:bytes(f.reserved, 4)
    reader:instance(f.instance)
    return session, number, stream
end

local function request_prefix(body)
    local request = hex(body:u64(f.request))
    body:u64(f.request_timeout)
    body:locator(f.reply_to)
    return " " .. request
end

local function response_prefix(body)
    local request = hex(body:u64(f.request))
    body:instance(f.requester)
    return " to " .. request
end

-- What stands before the payload, by the kind of the frame.
local BODIES = {
    [REQUEST] = { length = REQUEST_PREFIX_LENGTH, read = request_prefix },
    [RESPONSE] = { length = RESPONSE_PREFIX_LENGTH, read = response_prefix },
}

-- Which bytes of the body a fragment has; nothing for a frame that has all.
local function read_fragment(frame, flags)
    if has(flags, BEGIN) and has(flags, END) then
        return nil
    end
    local total, offset = frame:u32(f.total), frame:u32(f.offset)
    local stop = offset + frame:left()
    local is_right = stop <= total and has(flags, END) == (stop == total) and has(flags, BEGIN) == (offset == 0)
    frame:check(is_right, "fragment position")
    return { offset = offset, text = string.format("bytes %d-%d of %d", offset, stop, total) }
end

-- Shows a body, and says what its prefix says and how much payload there is.
local function read_body(frame, kind, fragment)
    local prefix = BODIES[kind]
    -- Fragments divide the body as a whole: only the first has the prefix, if it has all of it.
    local is_there = prefix and (not fragment or fragment.offset == 0 and frame:left() >= prefix.length)
    local what = is_there and prefix.read(frame) or ""
    local bytes = frame:left()
    frame:bytes(f.payload, bytes)
    return what, fragment and fragment.text or plural(bytes, "byte")
end

-- Shows a frame, and says in a few words what it is.
local function read_frame(frame)
    frame:u16(f.frame_length)
    local kind = frame:named(f.frame_kind, FRAME_KINDS, "frame kind")
    local flags = frame:flags(f.frame_flags, { f.frame_begin, f.frame_end })
    frame:u32(f.publisher)
    local topic = frame:topic_hash()
    local sequence = frame:sequence(f.message)
    local what, size = read_body(frame, kind, read_fragment(frame, flags))
    return string.format("%s%s #%s on %s (%s)", FRAME_KINDS[kind], what, tostring(sequence), topic, size)
end

local function read_data(reader)
    local session, sequence, stream = packet_header(reader, f.sequence)
    local frames = {}
    while reader:left() > 0 do
        reader:check(reader:left() >= FRAME_HEADER_LENGTH, "truncated frame header")
        local length = reader:peek(2):le_uint()
        reader:check(length >= FRAME_HEADER_LENGTH and length <= reader:left(), "frame length")
        local frame = reader:open(f.frame, length)
        local text = read_frame(frame)
        frame.tree:append_text(": " .. text)
        reader:close(frame)
        reader:bytes(f.padding, math.min(-length % FRAME_ALIGNMENT, reader:left()))
        frames[#frames + 1] = text
    end
    return string.format("#%s of %s, stream %d: %s", tostring(sequence), session, stream, listing(frames))
end

local function read_heartbeat(reader, flags)
    local session, number = packet_header(reader, f.next)
    reader:u64(f.round_trip)
    local receivers = reader:u32(f.receivers)
    local probe = reader:u32(f.probe)
    local wants = has(flags, STATUS_WANTED) and string.format(", wants status for probe %d", probe) or ""
    return string.format("of %s, next #%s, %s%s", session, tostring(number), plural(receivers, "receiver"), wants)
end

-- Of a status and of a NAK, which has more behind it.
local function read_feedback(reader, flags)
    local session = hex(reader:u64(f.session))
    local consumed = reader:sequence(f.consumed)
    local window, echo = reader:u32(f.window), reader:u32(f.echo)
    reader:instance(f.instance)
    reader:u32(f.tag)
    reader:u16(f.port)
    reader:bytes(f.reserved, 2)
    local text = string.format("of %s, consumed below #%s, window %d", session, tostring(consumed), window)
    if echo ~= 0 then
        text = string.format("%s, echo %d", text, echo)
    end
    return has(flags, JOINING) and text .. ", joining" or text, consumed
end

local function read_nak(reader, flags)
    local text, consumed = read_feedback(reader, flags)
    local missing = {}
    reader:entries(f.range, 8, MAX_RANGES, function(range)
        local start = range.at
        local distance, packets = range:u32(f.distance), range:u32(f.packets)
        range:check(packets > 0, "empty range")
        local first = consumed + UInt64(distance)
        range.tree:add(f.first, range.tvb(start, 8), first):set_generated()
        local line = "#" .. tostring(first)
        if packets > 1 then
            line = string.format("%s-#%s", line, tostring(first + UInt64(packets - 1)))
        end
        range.tree:append_text(": " .. line)
        missing[#missing + 1] = line
    end)
    return string.format("%s, missing %s", text, listing(missing))
end

local function read_welcome(reader)
    local session, start = packet_header(reader, f.start)
    local receiver = reader:instance(f.target)
    local port = reader:u16(f.welcome_port)
    reader:bytes(f.reserved, 6)
    return string.format("to %s of %s port %d: begins at #%s", session, receiver, port, tostring(start))
end

local function read_gone(reader)
    local session, oldest = packet_header(reader, f.oldest)
    return string.format("of %s: all before #%s", session, tostring(oldest))
end

---------------------------------------------------------------------------------------------------------------
-- Discovery
---------------------------------------------------------------------------------------------------------------

local function read_announce(reader)
    local instance = reader:instance(f.instance)
    local control = reader:locator(f.control)
    reader:locator(f.responses)
    reader:u64(f.host)
    local head = reader:u64(f.head)
    reader:u64(f.digest)
    reader:u32(f.interval)
    reader:u32(f.timeout)
    local flags = reader:flags(f.announce_flags, { f.direct })
    local name = reader:text(f.name, (reader:u8(f.name_length)))
    local direct = has(flags, DIRECT) and ", direct" or ""
    return string.format("of %s \"%s\", control %s, head %s%s", instance, name, control, tostring(head), direct)
end

local function read_add(entry)
    local side = entry:named(f.side, SIDES, "kind of an advert")
    local transport = entry:named(f.transport, TRANSPORTS, "transport of an advert")
    local parts = entry:flags(f.parts, { f.has_locator, f.has_session })
    local topic_length = entry:u8(f.topic_length)
    local key = entry:u64(f.key)
    local hash = hex(entry:u64(f.topic_hash))
    local locator = has(parts, HAS_LOCATOR) and " at " .. entry:locator(f.advert_locator) or ""
    local session = has(parts, HAS_SESSION) and " session " .. hex(entry:u64(f.session)) or ""
    entry:check(topic_length > 0, "topic of an advert")
    local topic = entry:text(f.topic, topic_length)
    learn(hash, topic)
    local text = string.format("+ %s %s of %s%s%s", TRANSPORTS[transport], SIDES[side], topic, locator, session)
    return key, text, string.format("+%s %s", SIDES[side], topic)
end

-- Shows one change, and returns the latest key of the page so far and what the change is.
local function read_change(entry, from, latest, to)
    local operation = entry:named(f.operation, OPERATIONS, "operation of a change")
    if operation == REMOVE then
        local key = entry:u64(f.key)
        entry:check(key > UInt64(0) and key <= from, "key of a removed advert")
        local text = string.format("-key %s", tostring(key))
        entry.tree:append_text(": " .. text)
        return latest, text
    end
    local key, line, text = read_add(entry)
    entry.tree:append_text(": " .. line)
    entry:check(key > latest and key <= to, "key of an added advert")
    return key, text
end

local function read_changes(reader)
    local instance = reader:instance(f.instance)
    local from, to, head = reader:u64(f.from), reader:u64(f.to), reader:u64(f.head)
    local flags = reader:flags(f.changes_flags, { f.reset, f.end_of_log })
    reader:bytes(f.reserved, 1)
    local count = reader:u16(f.count)
    local is_reset = has(flags, RESET)
    reader:check(from <= to and to <= head and (not is_reset or from == UInt64(0)), "range of CHANGES")
    local latest, changes = from, {}
    -- Every entry takes bytes, so the packet bounds this loop whatever the count says.
    for nth = 1, count do
        local entry = reader:open(f.change)
        latest, changes[nth] = read_change(entry, from, latest, to)
        reader:close(entry)
    end
    local text = string.format("of %s, %s to %s of %s", instance, tostring(from), tostring(to), tostring(head))
    text = text .. (is_reset and ", reset" or "") .. (has(flags, END_OF_LOG) and ", end" or "")
    return count > 0 and string.format("%s: %s", text, listing(changes)) or text
end

local function read_ask(reader)
    local asker = reader:instance(f.instance)
    reader:locator(f.control)
    local target = reader:instance(f.target)
    local have = reader:u64(f.have)
    reader:u64(f.horizon)
    return string.format("of %s for what %s has after %s", asker, target, tostring(have))
end

local function read_goodbye(reader)
    return "of " .. reader:instance(f.instance)
end

---------------------------------------------------------------------------------------------------------------
-- Discovery daemons
---------------------------------------------------------------------------------------------------------------

local function read_register(reader)
    local instance = reader:instance(f.instance)
    reader:bytes(f.reserved, 8)
    return "of " .. instance
end

local function read_ticket(reader)
    local daemon = reader:instance(f.daemon)
    return string.format("of daemon %s: %s", daemon, hex(reader:u64(f.ticket)))
end

-- Defined below, as what it shows is a packet again.
local read_packet

local function read_relay(reader)
    reader:u64(f.ticket)
    local inside = reader:open(f.relayed, reader:left())
    local text = read_packet(inside, RELAYED)
    reader:close(inside)
    return text
end

local function read_heard(reader)
    local daemon = reader:instance(f.daemon)
    local heard = {}
    reader:entries(f.heard, 32, MAX_HEARD, function(entry)
        local instance = entry:instance(f.listed)
        local head = entry:u64(f.head)
        entry:u64(f.digest)
        local line = string.format("%s at %s", instance, tostring(head))
        entry.tree:append_text(": " .. line)
        heard[#heard + 1] = line
    end)
    return string.format("by daemon %s: %s", daemon, listing(heard))
end

local function read_who(reader)
    reader:u64(f.ticket)
    local count = reader:left() / 16
    reader:check(count >= 1 and count <= MAX_WHO and count == math.floor(count), "number of entries")
    local asked = {}
    for nth = 1, count do
        asked[nth] = reader:instance(f.listed)
    end
    return "is " .. listing(asked)
end

---------------------------------------------------------------------------------------------------------------
-- Heartbeats of publishers
---------------------------------------------------------------------------------------------------------------

local function read_roll(reader)
    local sender, target = reader:instance(f.instance), reader:instance(f.target)
    local called = {}
    reader:entries(f.call, 16, MAX_ROLL, function(entry)
        local topic = entry:topic_hash()
        local line = string.format("%s, round %s", topic, hex(entry:u64(f.round)))
        entry.tree:append_text(": " .. line)
        called[#called + 1] = topic
    end)
    return string.format("of %s for %s: %s", sender, target, listing(called))
end

---------------------------------------------------------------------------------------------------------------
-- Packets
---------------------------------------------------------------------------------------------------------------

local READERS = {
    [1] = read_data, [2] = read_heartbeat, [3] = read_feedback, [4] = read_nak, [5] = read_welcome,
    [6] = read_gone, [16] = read_announce, [17] = read_changes, [18] = read_ask, [19] = read_goodbye,
    [20] = read_register, [21] = read_ticket, [22] = read_relay, [23] = read_heard, [24] = read_who,
    [25] = read_roll, [26] = read_roll,
}
local FLAG_BITS = { [2] = f.status_wanted, [3] = f.joining, [4] = f.joining }

local function kind_name(kind)
    return KINDS[kind] or string.format("kind %d", kind)
end

local function read_prefix(reader)
    reader.tree:add(f.magic, reader:take(2))
    local version = reader:u8(f.version)
    local kind = reader:u8(f.kind)
    local length = reader:u16(f.length)
    local flags, item, range = reader:u16(f.flags)
    if FLAG_BITS[kind] then
        item:add_le(FLAG_BITS[kind], range)
    end
    reader:check(version == VERSION, string.format("version %d", version))
    return kind, length, flags
end

-- Shows what is behind the packet, up to `stop`. Receivers ignore it; packets in the midst of a run often have it.
local function show_beyond(reader, stop, is_discovery)
    local is_longer = stop > reader.to
    reader.at, reader.to = reader.to, stop
    reader:bytes(f.ignored, math.min(stop, reader.tvb:len()) - reader.at)
    reader:check(not is_discovery or not is_longer, "length of a discovery packet")
end

-- Shows the packet at the front of `reader`, which ends where the datagram does, and says what it is.
-- `allowed` has the kinds that can be here.
function read_packet(reader, allowed)
    local start, arrived = reader.at, reader:left()
    reader:check(reader:peek(2):raw() == "VG", "magic")
    local kind, length, flags = read_prefix(reader)
    reader.tree:append_text(", " .. kind_name(kind))
    if not KINDS[kind] then
        reader:refuse(kind_name(kind), expert_of.unknown)
    end
    reader:check(allowed[kind], "kind of a relayed packet")
    reader:check(length >= PREFIX_LENGTH, "packet length")
    local is_discovery = kind >= FIRST_OF_DISCOVERY
    reader:check(not is_discovery or length <= MAX_DISCOVERY_BYTES, "length of a discovery packet")
    reader.to = start + math.min(length, arrived)
    local text = READERS[kind](reader, flags)
    -- So late, to show what is there.
    reader:check(length <= arrived, "truncated")
    reader:check(not is_discovery or reader:left() == 0, "end of a discovery packet")
    show_beyond(reader, start + arrived, is_discovery)
    return string.format("%s %s", kind_name(kind), text)
end

---------------------------------------------------------------------------------------------------------------
-- Datagrams
---------------------------------------------------------------------------------------------------------------

-- Whether a packet begins here: magic and version, and then a kind that there is or the length of all the rest.
local function is_packet(tvb, at)
    if at + PREFIX_LENGTH > tvb:len() then
        return false
    end
    local is_ours = tvb(at, 2):raw() == "VG" and tvb(at + 2, 1):uint() == VERSION
    return is_ours and (KINDS[tvb(at + 3, 1):uint()] ~= nil or tvb(at + 4, 2):le_uint() == tvb:reported_len() - at)
end

local function length_at(tvb, at)
    return math.max(tvb(at + 4, 2):le_uint(), PREFIX_LENGTH)
end

-- Whether two packets, the second of which can be anything, are of one session.
local function is_same_session(tvb, one, other)
    local is_there = other + SESSION_AT + 8 <= tvb:len() and tvb(other + 3, 1):uint() < FIRST_OF_DISCOVERY
    return is_there and tvb(one + SESSION_AT, 8):raw() == tvb(other + SESSION_AT, 8):raw()
end

-- One datagram is one packet. But a capture sees a run of packets that the kernel has yet to split (UDP_SEGMENT),
-- or has joined (UDP_GRO), as one datagram, without a word on where it is split: all but the last have one length,
-- which can be more than what they need. Returns that length.
local function segment_length(tvb)
    local length, size = length_at(tvb, 0), tvb:reported_len()
    if is_packet(tvb, length) then
        return length
    end
    for slot = math.ceil(length / SLOT_UNIT) * SLOT_UNIT, tvb:len() - PREFIX_LENGTH, SLOT_UNIT do
        if is_packet(tvb, slot) and is_same_session(tvb, 0, slot) then
            return slot
        end
    end
    return size
end

-- Shows the packet from `at` to `stop`, and says what it is.
local function show_packet(tvb, at, stop, tree)
    local item = tree:add(vega, tvb(at, math.min(stop, tvb:len()) - at))
    local is_right, found = pcall(read_packet, Reader.new(tvb, at, stop, item), KINDS)
    if is_right then
        return found
    end
    if type(found) ~= "table" then
        error(found, 0)
    end
    found.tree:add_proto_expert_info(found.expert, found.text)
    return string.format("%s [%s]", kind_name(tvb(at + 3, 1):uint()), found.text)
end

function vega.dissector(tvb, pinfo, tree)
    if not is_packet(tvb, 0) then
        return 0
    end
    pinfo.cols.protocol = "vega"
    local at, size, segment, packets = 0, tvb:reported_len(), segment_length(tvb), {}
    while is_packet(tvb, at) do
        local stop = math.min(at + segment, size)
        packets[#packets + 1] = show_packet(tvb, at, stop, tree)
        at = stop
    end
    if at < tvb:len() then
        tree:add(f.ignored, tvb(at))
    end
    local run = #packets > 1 and plural(#packets, "packet") .. ": " or ""
    pinfo.cols.info = run .. listing(packets)
    return tvb:len()
end

vega:register_heuristic("udp", function(tvb, pinfo, tree)
    return vega.dissector(tvb, pinfo, tree) > 0
end)
-- For "Decode As", where another protocol takes a port that vega uses.
DissectorTable.get("udp.port"):add_for_decode_as(vega)
