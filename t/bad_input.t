# Messages that are refused: what they are answered with, as llama_deploy's
# FastAPI says it, and that nothing of them reaches Redis.

use strict;
use warnings;

use Test::More;
use Workflow;
use Workflow::Connection;

my $redis = Workflow::Redis->new;
my $nginx = Workflow::Nginx->new(http => <<"HTTP", locations => <<'LOCATIONS');
workflow_load \@PLUGINS\@/echo.so;
workflow_load \@PLUGINS\@/ask.so;
workflow_queue tasks { url @{[ $redis->url ]}; }
workflow_service echo { workflow echo; queue tasks; }
workflow_service small { workflow echo; queue tasks; max_message_size 512; }
workflow_service ask { workflow ask; queue tasks; }
HTTP
location /echo/ { workflow_pass echo; }
location /small/ { workflow_pass small; }
location /ask/ { workflow_pass ask; }
location /limited/ { client_max_body_size 512; workflow_pass echo; }
LOCATIONS

# What Redis holds of tasks; streams of the services' queues are there already.

sub held {
    return [ sort grep { !/:queue$/ } $redis->redis->keys('*') ];
}

wait_for { $redis->redis->keys('*:queue') == 3 } 10, 'the queues';

my $none = held();
wait_for { 2 == (() = $nginx->workers) } 10, 'two workers';
my @workers = $nginx->workers;

sub post {
    my ($body, %options) = @_;
    my $type = exists $options{type} ? $options{type} : 'application/json';
    my $c = Workflow::Connection->new($nginx);

    $c->send(Workflow::Connection::text('POST',
        ($options{path} // '/echo') . '/process_message', $body,
        Connection => 'close', defined $type ? ('Content-Type' => $type) : ()));
    return $c->answer;
}

# A message is refused by these errors: each [type, loc, msg, input] and, if
# there is one, ctx.

sub refused {
    my ($name, $body, $errors, %options) = @_;
    my $r = post($body, %options);
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is($r->{status}, 422, "$name, status");
    is($r->{headers}{'content-type'}, 'application/json', "$name, type");
    is_deeply(from_json($r->{content}), { detail => [ map { {
        type => $_->[0], loc => $_->[1], msg => $_->[2], input => $_->[3],
        @$_ > 4 ? (ctx => $_->[4]) : () } } @$errors ] }, $name)
        or diag($r->{content});
    is_deeply(held(), $none, "$name, nothing in Redis");
}

sub value_error {
    my ($loc, $text, $input) = @_;
    return [ 'value_error', $loc, "Value error, $text", $input ];
}

sub decode_error {
    my ($loc, $text) = @_;
    return [ 'json_invalid', $loc, 'JSON decode error', {},
        { error => $text } ];
}

my $model = 'Input should be a valid dictionary or object to extract fields '
    . 'from';
my $actions = "'new_task', 'completed_task', 'request_for_help', "
    . "'new_tool_call', 'completed_tool_call', 'task_stream' or 'send_event'";
my $missing = [ 'missing', ['body'], 'Field required', undef ];


# As the reference refuses it

refused('no body', '', [ $missing ]);
refused('null', 'null', [ $missing ]);
refused('broken', '{bad', [ decode_error([ 'body', 1 ],
    'Expecting property name enclosed in double quotes') ]);
refused('broken behind wider characters', "{\"\303\244\342\202\254\": }",
    [ decode_error([ 'body', 7 ], 'Expecting value') ]);

for ([ 'cut', '{"a": ', 6, 'Expecting value' ],
    [ 'cut in a string', '{"a": "x', 6, 'Unterminated string starting at' ],
    [ 'no colon', '{"a" 1}', 5, "Expecting ':' delimiter" ],
    [ 'no comma', '{"a": 1 "b": 2}', 8, "Expecting ',' delimiter" ],
    [ 'a comma too many', '{"a": 1,}', 8,
        'Expecting property name enclosed in double quotes' ],
    [ 'more than one value', '{} {}', 3, 'Extra data' ],
    [ 'an escape', '{"a": "\\x"}', 7, 'Invalid \\escape' ],
    [ 'a wrong escape', '{"a": "\\u12g4"}', 8, 'Invalid \\uXXXX escape' ],
    [ 'a tab in a string', "{\"a\": \"\t\"}", 7,
        'Invalid control character at' ],
    [ 'a BOM', "\357\273\277{}", 0,
        'Unexpected UTF-8 BOM (decode using utf-8-sig)' ],
    [ 'NaN', '{"a": NaN}', 6, 'Expecting value' ],
    [ 'a comment', '/**/{}', 0, 'Expecting value' ],
    [ 'white space', " \n", 2, 'Expecting value' ])
{
    my ($name, $body, $offset, $text) = @$_;
    refused($name, $body, [ decode_error([ 'body', $offset ], $text) ]);
}

refused("a value, $_", $_, [ [ 'model_attributes_type', ['body'], $model,
    from_json($_) ] ]) for '[1, "a"]', '"text"', '17', 'true', '0.5';

my $good = new_task('t', { arg1 => 'x' });

refused("content type $_", $good, [ [ 'model_attributes_type', ['body'],
    $model, $good ] ], type => $_)
    for 'text/plain', 'application/x-www-form-urlencoded', 'application/xjson',
        'text/json', 'application', 'multipart/form-data; boundary=x';
refused('content type text/plain, not UTF-8', "\"\\\n\000\377", [ [
    'model_attributes_type', ['body'], $model, "\"\\\n\000\x{fffd}" ] ],
    type => 'text/plain');

refused('action unknown', message('explode', {}), [ [ 'enum',
    [ 'body', 'action' ], "Input should be $actions", 'explode',
    { expected => $actions } ] ]);
refused('action no string', message(7, {}), [ [ 'enum',
    [ 'body', 'action' ], "Input should be $actions", 7,
    { expected => $actions } ] ]);
refused("data $_", "{\"action\": \"new_task\", \"data\": $_}", [ [ 'dict_type',
    [ 'body', 'data' ], 'Input should be a valid dictionary', from_json($_) ]
    ]) for '[]', '"x"', 'null', '1';
refused("$_->[0] $_->[1]", "{\"action\": \"new_task\", \"$_->[0]\": $_->[1]}",
    [ [ 'string_type', [ 'body', $_->[0] ], 'Input should be a valid string',
    from_json($_->[1]) ] ]) for [ 'type', '1' ], [ 'type', 'null' ],
        [ 'type', '{"a": []}' ], [ 'id_', '1' ], [ 'publisher_id', '[]' ];
refused('stats', '{"action": "new_task", "stats": 1}', [ [
    'model_attributes_type', [ 'body', 'stats' ], $model, 1 ] ]);
refused('stats.publish_time', '{"stats": {"publish_time": 1}}', [ [
    'string_type', [ 'body', 'stats', 'publish_time' ],
    'Input should be a valid string', 1 ] ]);
refused('several at once',
    '{"id_": 1, "data": 2, "action": "explode", "type": 3}', [
    [ 'string_type', [ 'body', 'id_' ], 'Input should be a valid string', 1 ],
    [ 'dict_type', [ 'body', 'data' ], 'Input should be a valid dictionary',
        2 ],
    [ 'enum', [ 'body', 'action' ], "Input should be $actions", 'explode',
        { expected => $actions } ],
    [ 'string_type', [ 'body', 'type' ], 'Input should be a valid string',
        3 ] ]);


# What the reference has no answer for

my $data = { task_id => 't', input => '{}' };

refused("action $_", message($_, $data), [ value_error([ 'body', 'action' ],
    "Unhandled action: $_", $_) ]) for qw(completed_task request_for_help
        new_tool_call completed_tool_call task_stream);
refused('action null', message(undef, $data), [ value_error(
    [ 'body', 'action' ], 'Unhandled action: None', undef) ]);
refused('no action', to_json({ data => $data }), [ value_error(
    [ 'body', 'action' ], 'Unhandled action: None', undef) ]);
refused('another service', message('new_task', $data, type => 'other'), [
    value_error([ 'body', 'type' ],
    "Consumer cannot process messages of type 'other'.", 'other') ]);

sub input_error {
    my ($name, $input, @errors) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    for my $action ('new_task', 'send_event') {
        refused("$action, $name", message($action, { task_id => 't',
            input => $input }), \@errors, path => '/ask');
    }
}

my $input = [ qw(body data input) ];

refused('new_task without data', message('new_task', {}), [ [ 'missing',
    $input, 'Field required', {} ] ]);
refused('new_task without input', message('new_task', { task_id => 't' }), [
    [ 'missing', $input, 'Field required', { task_id => 't' } ] ]);
refused('send_event without anything', message('send_event', {}), [
    [ 'missing', $input, 'Field required', {} ],
    [ 'missing', [ qw(body data task_id) ], 'Field required', {} ] ]);
input_error('input an object', { a => 1 }, [ 'string_type', $input,
    'Input should be a valid string', { a => 1 } ]);
input_error('input null', undef, [ 'string_type', $input,
    'Input should be a valid string', undef ]);
input_error('input not JSON', 'hello', decode_error([ @$input, 0 ],
    'Expecting value'));
input_error('input empty', '', decode_error([ @$input, 0 ],
    'Expecting value'));
input_error('input cut', '{"a": "', decode_error([ @$input, 6 ],
    'Unterminated string starting at'));
input_error("input $_", $_, [ 'dict_type', $input,
    'Input should be a valid dictionary', from_json($_) ])
    for '[]', '"x"', '1', 'null';
input_error('NUL in input', '{"a": "\\u0000"}', decode_error([ @$input, 7 ],
    'NUL is not allowed'));
input_error('a key twice in input', '{"a": 1, "a": 1}',
    decode_error([ @$input, 9 ], 'Duplicate key'));
input_error('input too deep', '{"a": ' . '[' x 128 . ']' x 128 . '}',
    decode_error([ @$input, 6 + 127 ], 'Nesting deeper than 128 levels'));


# Events

my $shape = 'an event is {"__is_pydantic": true, "value": {...}, '
    . '"qualified_name": "module.Class"}';
my $accepted = "workflow 'ask' does not accept events of type '%s'; it "
    . 'accepts HumanResponseEvent';

sub event_refused {
    my ($name, $event, $text, $shown) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    refused($name, message('send_event', { task_id => 't',
        input => to_json($event) }), [ value_error($input, $text, $shown) ],
        path => '/ask');
}

for my $event ({ response => '42' },
    { __is_component => JSON::PP::true, value => {}, qualified_name => 'a.B' },
    { __is_pydantic => JSON::PP::true, value => {} },
    { __is_pydantic => JSON::PP::true, value => [], qualified_name => 'a.B' },
    { __is_pydantic => JSON::PP::true, value => {}, qualified_name => '' },
    { __is_pydantic => JSON::PP::true, value => {}, qualified_name => 1 },
    { __is_pydantic => JSON::PP::true, qualified_name => 'a.B' },
    { __is_pydantic => 1, value => {}, qualified_name => 'a.B' },
    { __is_pydantic => JSON::PP::true, value => { _data => 1 },
        qualified_name => 'a.B' })
{
    event_refused('event ' . to_json($event), $event, $shape, $event);
}

for my $type ('my_module.OtherEvent', 'llama_index.core.workflow.events.Event',
    'StopEvent', 'os.system', 'HumanResponseEvent.x')
{
    my $name = $type =~ /\./ ? $type
        : "llama_index.core.workflow.events.$type";
    event_refused("event type $type", from_json(event_input($type, {})),
        sprintf($accepted, $name), $name);
}


# What cannot be taken, or not safely

sub body_error {
    my ($name, $body, $offset, $text) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    refused($name, $body, [ decode_error([ 'body', $offset ], $text) ]);
}

body_error('129 levels', '[' x 129 . ']' x 129, 128,
    'Nesting deeper than 128 levels');
body_error('levels without an end', '{"a":' x 100000, 5 * 128,
    'Nesting deeper than 128 levels');
body_error('a key twice', '{"a": 1, "b": 2, "a": 1}', 17, 'Duplicate key');
body_error('a key twice by an escape', '{"a": 1, "\\u0061": 2}', 9,
    'Duplicate key');
body_error('a key twice among many',
    '{' . join(',', map { "\"$_\":0" } 100 .. 399, 250) . '}', 1 + 300 * 8,
    'Duplicate key');
body_error('invalid UTF-8', "{\"a\": \"\303(\"}", 7, 'Invalid UTF-8');
body_error('an overlong NUL', "{\"a\": \"\300\200\"}", 7, 'Invalid UTF-8');
body_error('UTF-8 of a surrogate', "{\"a\": \"\355\240\200\"}", 7,
    'Invalid UTF-8');
body_error('NUL', "{\"a\": \"\000\"}", 7, 'Invalid control character at');
body_error('NUL behind the end', "{}\000", 2, 'Extra data');
body_error('NUL by an escape', '{"a": "\\u0000"}', 7, 'NUL is not allowed');
body_error('a lone surrogate', '{"a": "\\ud800"}', 7, 'Lone surrogate');
body_error('2^64', '{"a": 18446744073709551616}', 6, 'Integer out of range');
body_error('an endless integer', '{"a": ' . '9' x 100000 . '}', 6,
    'Integer out of range');
body_error('1e400', '{"a": 1e400}', 6, 'Number out of range');

for my $field ([ 'task_id' ], [ 'session_id' ]) {
    my $loc = [ qw(body data), @$field ];
    my $with = sub { message('new_task', { %$data, $field->[0] => $_[0] }) };

    refused("$field->[0] too long", $with->('x' x 257), [ [ 'string_too_long',
        $loc, 'String should have at most 256 characters', 'x' x 257,
        { max_length => 256 } ] ]);
    refused("$field->[0] empty", $with->(''), [ [ 'string_too_short', $loc,
        'String should have at least 1 character', '', { min_length => 1 } ]
        ]);
    refused("$field->[0] a number", $with->(1), [ [ 'string_type', $loc,
        'Input should be a valid string', 1 ] ]);
    refused("$field->[0] with a line feed", $with->("a\nb"), [ value_error(
        $loc, 'control characters are not allowed', "a\nb") ]);
}

refused('task_id null', message('new_task', { %$data, task_id => undef }), [ [
    'string_type', [ qw(body data task_id) ], 'Input should be a valid string',
    undef ] ]);
refused('id_ too long', message('new_task', $data, id_ => 'x' x 257), [ [
    'string_too_long', [ qw(body id_) ],
    'String should have at most 256 characters', 'x' x 257,
    { max_length => 256 } ] ]);
refused('agent_id', message('new_task', { %$data, agent_id => 1 }), [ [
    'string_type', [ qw(body data agent_id) ],
    'Input should be a valid string', 1 ] ]);


# Size

my $large = new_task('t', { arg1 => 'x' x 600 });
my $too_large = { detail => 'Request Entity Too Large' };

sub too_large {
    my ($name, $request, $body) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $c = Workflow::Connection->new($nginx);

    $c->send($request);
    my $r = $c->answer;
    is($r->{status}, 413, "$name, status");
    is_deeply(from_json($r->{content}), $too_large, $name) if $body;
    is($r->{headers}{connection}, 'close', "$name, Connection");
    $c->finish;
    ok($c->closed, "$name, closed");
    is_deeply(held(), $none, "$name, nothing in Redis");
}

my @chunks = ('Transfer-Encoding' => 'chunked');

sub request { Workflow::Connection::text('POST', @_) }

too_large('max_message_size, length',
    request('/small/process_message', $large), 1);
too_large('max_message_size, chunks', request('/small/process_message',
    Workflow::Connection::chunked($large, 100), @chunks), 1);
too_large('max_message_size, one chunk', request('/small/process_message',
    Workflow::Connection::chunked($large, 10000), @chunks), 1);
too_large('max_message_size, announced only',
    request('/small/process_message', '', 'Content-Length' => 1000000), 1);
too_large('client_max_body_size, length',
    request('/limited/process_message', $large), 0);
too_large('client_max_body_size, chunks', request('/limited/process_message',
    Workflow::Connection::chunked($large, 100), @chunks), 0);


# What is on the right side of each limit is taken

sub taken {
    my ($name, $body, %options) = @_;
    my $r = post($body, %options);
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is($r->{status}, 200, "$name, status");
    is($r->{content}, 'null', $name);
}

my $empty = length new_task('small', { arg1 => '' });
taken('512 bytes', new_task('small', { arg1 => 'x' x (512 - $empty) }),
    path => '/small');
taken('512 bytes in chunks, again', new_task('small',
    { arg1 => 'x' x (512 - $empty) }), path => '/small');
taken('128 levels', new_task('deep', '{"arg1": ' . '[' x 127 . ']' x 127
    . '}'));
taken('2^63 - 1 and 1e308', new_task('numbers',
    '{"arg1": [9223372036854775807, -9223372036854775808, 1e308]}'));
taken('an id of 256 bytes', new_task('x' x 256, { arg1 => 'x' }));
taken('its own type', message('new_task', { %$data, task_id => 'own' },
    type => 'echo'));
taken("content type $_", new_task("type $_", { arg1 => 'x' }), type => $_)
    for 'application/json; charset=utf-8', 'APPLICATION/JSON',
        'application/vnd.api+json';
taken('no content type', new_task('none', { arg1 => 'x' }), type => undef);

is_deeply([ $nginx->workers ], \@workers, 'the workers are the same');

is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok;

done_testing;
