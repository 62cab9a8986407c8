# hash_secret_file: a session's state in the control plane is signed, and what
# is not signed with a secret of ours is not used.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use File::Temp;
use Test::More;
use Workflow;
use Workflow::ControlPlane;
use Workflow::Plugin;

sub bytes {
    my ($text) = @_;
    utf8::encode($text);
    return $text;
}

my $old = 'the-secret-of-last-year-0123456789';
my $new = bytes("n\x{fc}w secret, with blanks and \"quotes\" \\ ");
my $stranger = 'nobody-has-told-us-this-secret';

my $dir = File::Temp->newdir('workflow-hash-XXXXXX', TMPDIR => 1);
chmod 0755, $dir;

# What only the master can read.

sub secret_file {
    my ($name, $text) = @_;
    open my $file, '>', "$dir/$name" or die "$dir/$name: $!";
    print $file $text;
    close $file or die "$dir/$name: $!";
    chmod 0600, "$dir/$name";
    return "hash_secret_file $dir/$name;";
}

my $plugin = Workflow::Plugin->new('session');
my $redis = Workflow::Redis->new;
my $cp = Workflow::ControlPlane->new;
my $inbox = $redis->inbox('llama_deploy.control_plane');

sub nginx {
    my ($secret) = @_;
    my $nginx = Workflow::Nginx->new(http => <<"HTTP",
workflow_load @{[ $plugin->path ]};
workflow_queue tasks {
    url @{[ $redis->url ]}; topic_namespace llama_deploy; }
workflow_service session {
    workflow session; queue tasks; control_plane @{[ $cp->url ]};
    max_attempts 2; retry_delay 10ms; $secret }
HTTP
        locations => 'location / { workflow_pass session; }');
    $redis->subscribed(2, 'llama_deploy.session');
    return $nginx;
}

# Without alarms, and without a word of what is secret.

sub ended {
    my ($nginx) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($nginx->stop, 0, 'nginx ends');
    $nginx->log_ok;
    unlike($nginx->log, qr/last-year|blanks and|told-us|[0-9a-f]{64}/,
        'no secret in the log');
}

my $n = 0;

# The run's data and what it streamed; a run that did begin has streamed that.

sub run {
    my ($nginx, $session, %input) = @_;
    my $id = 'task-' . ++$n;
    my $answer = http_post($nginx->url('/process_message'),
        bytes(new_task($id, \%input, session_id => $session)));
    $answer->{status} == 200 or die "$id: $answer->{content}";
    my @messages = $inbox->task($id);
    my $last = pop @messages;
    return ($last->{data}{data}, map { $_->{data}{data} } @messages);
}

sub reads {
    my ($nginx, $session, $expected, $name) = @_;
    my ($data) = run($nginx, $session, get => ['a', 'b']);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_deeply($data, { status => 'completed', result => $expected }, $name);
}

sub refuses {
    my ($nginx, $session, $name) = @_;
    my $mark = length $nginx->log;
    my $before = $cp->session($session)->{$session};
    my ($data, @streamed) = run($nginx, $session, get => ['a'],
        set => { b => 1 });
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($data->{status}, 'failed', "$name: an error");
    is($data->{error}{type}, 'SessionStateError', "$name: its type");
    is_deeply(\@streamed, [{ result => undef }], "$name: it is not run");
    like(substr($nginx->log, $mark), qr/\[error\] .*\Q$session\E/,
        "$name: the log says so");
    is($cp->session($session)->{$session}, $before,
        "$name: and the state is left alone");
}

# The WorkflowState's text, and parts of it as they stand there.

sub text {
    my $id = bytes($_[0]);
    my $json = $cp->session($id)->{$id};
    utf8::decode($json);
    return from_json($json);
}

sub put { $cp->session($_[0], { $_[0] => bytes(to_json($_[1])) }) }

sub parts { return Workflow::ControlPlane::members(bytes($_[0])) }

sub hmac {
    my ($secret, $session, $text) = @_;
    return hmac_sha256_hex(bytes($session) . "\n$text", $secret);
}

my $one = secret_file('one', "$old\n");
my $both = secret_file('both', "$new\n$old\n");

{
    my $nginx = nginx($one);
    my $odd = "s\x{e9}ssion \"1\"/2";

    for my $session ('plain', $odd) {
        $cp->session(bytes($session), {});
        run($nginx, $session, set => { a => "\x{e9}\n\"", b => [1, {}] });
        my $parts = parts(text($session));
        is($parts->{hash}, 'null', 'hash is null');
        is(from_json($parts->{hmac}), hmac($old, $session, $parts->{state}),
            'hmac is that of id and state');
        like($parts->{hmac}, qr/^"[0-9a-f]{64}"$/, 'in hexadecimal');
        reads($nginx, $session, { a => bytes("\x{e9}\n\""), b => [1, {}] },
            'it is read again');
    }

    my $good = text('plain');
    my $parts = parts($good);
    my ($hmac) = $good =~ /"hmac":"(\w+)"/;

    # as another service might have written it, and the same signed

    my $theirs = '{ "globals" : {"a": "\u0031" }, "x": [1.50, NaN], '
        . '"stepwise": false }';
    my $signed = '{"task_id": "t", "session_id": "plain", "hmac": "'
        . hmac($old, 'plain', $theirs) . qq(", "state": $theirs, "hash": 7});
    put('plain', $signed);
    reads($nginx, 'plain', { a => 1 }, 'the bytes are signed as they stand');

    my %bad = (
        'a changed value' => $good =~ s/\[1,/[2,/r,
        'a changed blank' => $good =~ s/"globals":/"globals": /r,
        'a changed key' => $good =~ s/"globals":\{"a"/"globals":{"c"/r,
        'another key' => $good =~ s/"globals":\{/"globals":{"c":"1",/r,
        'a changed hmac' => $good =~ s/"hmac":"(.)/'"hmac":"'
            . ($1 eq '0' ? '1' : '0')/er,
        'a short hmac' => $good =~ s/$hmac/substr $hmac, 0, 63/er,
        'a long hmac' => $good =~ s/$hmac/${hmac}0/r,
        'an empty hmac' => $good =~ s/$hmac//r,
        'null for an hmac' => $good =~ s/"$hmac"/null/r,
        'a number for an hmac' => $good =~ s/"$hmac"/1/r,
        'no hmac' => $good =~ s/,"hmac":"$hmac"//r,
        'another hmac first' => $good =~ s/\{/{"hmac":"${\ ('0' x 64)}",/r,
        'another state first' =>
            $good =~ s/\{/{"state":{"globals":{"a":"9"}},/r,
        'the secret of a stranger' => $good
            =~ s/$hmac/hmac($stranger, 'plain', $parts->{state})/er,
        'no line feed' => $good
            =~ s/$hmac/hmac_sha256_hex("plain$parts->{state}", $old)/er,
        'the state alone' => $good
            =~ s/$hmac/hmac_sha256_hex($parts->{state}, $old)/er,
        'an empty secret' => $good
            =~ s/$hmac/hmac('', 'plain', $parts->{state})/er,
        'that of Python' => '{"hash":1838083916803841717,"state":{"globals":'
            . '{"a":"1"}},"run_kwargs":{},"session_id":"plain","task_id":"t"}',
    );

    for my $name (sort keys %bad) {
        isnt($bad{$name}, $good, "$name: is not as it was");
        put('plain', $bad{$name});
        refuses($nginx, 'plain', $name);
    }

    # that of another session, which was a good one there

    put('other', $good);
    refuses($nginx, 'other', 'the state of another session');
    put('other', $good =~ s/"session_id":"plain"/"session_id":"other"/r);
    refuses($nginx, 'other', 'the same under another id');

    put('plain', $good);
    reads($nginx, 'plain', { a => bytes("\x{e9}\n\""), b => [1, {}] },
        'as it was: it is read');
    is(scalar($cp->session('empty', {}) ? 1 : 0), 1, 'a new session');
    reads($nginx, 'empty', {}, 'what has no state needs no hmac');
    ended($nginx);
}

# Rotation: the first one signs, both are good for reading.

{
    my $nginx = nginx($both);
    $cp->session('rotated', {});
    run($nginx, 'rotated', set => { a => 1 });
    my $parts = parts(text('rotated'));
    is(from_json($parts->{hmac}), hmac($new, 'rotated', $parts->{state}),
        'two secrets: the first one signs');

    my $by_old = text('rotated')
        =~ s/"hmac":"\w+"/'"hmac":"' . hmac($old, 'rotated',
            $parts->{state}) . '"'/er;
    put('rotated', $by_old);
    reads($nginx, 'rotated', { a => 1 }, 'two secrets: the second one reads');
    run($nginx, 'rotated', set => { b => 2 });
    $parts = parts(text('rotated'));
    is(from_json($parts->{hmac}), hmac($new, 'rotated', $parts->{state}),
        'two secrets: and is replaced');
    reads($nginx, 'rotated', { a => 1, b => 2 }, 'two secrets: read on');
    put('rotated', $by_old =~ s/"hmac":"\w+"/'"hmac":"' . hmac($stranger,
        'rotated', $parts->{state}) . '"'/er);
    refuses($nginx, 'rotated', 'two secrets: none of them');

    # a reload takes the file as it is now

    put('rotated', $by_old);
    secret_file('both', "$new\n");
    $nginx->reload;
    $redis->subscribed(2, 'llama_deploy.session');
    refuses($nginx, 'rotated', 'a reload: the old secret is gone');
    ended($nginx);
}

# Without secrets whatever is there is read, and nothing is signed.

{
    my $nginx = nginx('');
    $cp->session('open', { open => to_json('{"hash":5,"hmac":"x","state":'
        . '{"globals":{"a":"1"}},"session_id":"open"}') });
    reads($nginx, 'open', { a => 1 }, 'no secret: read');
    run($nginx, 'open', set => { a => 2 });
    my $parts = parts(text('open'));
    is($parts->{hash}, 'null', 'no secret: hash is null');
    ok(!exists $parts->{hmac}, 'no secret: no hmac');
    ended($nginx);
}

# A line may end as elsewhere; blank ones do not count.

{
    my $nginx = nginx(secret_file('lines', "\r\n$old\r\n\n"));
    $cp->session('lines', {});
    run($nginx, 'lines', set => { a => 1 });
    my $parts = parts(text('lines'));
    is(from_json($parts->{hmac}), hmac($old, 'lines', $parts->{state}),
        'the line\'s end is not part of the secret');
    ended($nginx);
}

# nginx -t

sub refused_by_test {
    my ($directive, $like, $name, $plane) = @_;
    $plane //= 'control_plane http://127.0.0.1:8000;';
    my $nginx = Workflow::Nginx->new(start => 0, http => <<"HTTP",
workflow_load @{[ $plugin->path ]};
workflow_queue tasks { }
workflow_service session {
    workflow session; queue tasks; $plane $directive } # here
HTTP
        locations => 'location / { workflow_pass session; }');
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $nginx->refuses_ok($like, "nginx -t: $name");
    unlike(($nginx->test)[1], qr/last-year|told-us|secret-3/,
        "nginx -t: $name: no secret in its text");
}

refused_by_test(@$_) for
    [secret_file('empty', ''), qr/empty/, 'empty'],
    [secret_file('blank', "\n\n"), qr/empty/, 'blank'],
    [secret_file('three', "$old\n$stranger\nsecret-3-secret-3\n"),
        qr/two secrets/, 'three'],
    [secret_file('short', "$old\nsecret-3-secre\n"), qr/16/, 'short'],
    ["hash_secret_file $dir/none;", qr/hash_secret_file.*No such file/,
        'missing'],
    ["hash_secret_file $dir;", qr/hash_secret_file/, 'a folder'],
    ['hash_secret_file "";', qr/hash_secret_file/, 'no name'],
    [$one, qr/hash_secret_file.*control_plane/, 'no control plane', ''];

done_testing;
