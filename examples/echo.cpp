// SPDX-License-Identifier: Apache-2.0
// The M-channel from C++17: a class that owns its handle, and two programs.
//
//   echo URI           answers each message with itself, for ever
//   echo URI WORD...   sends the words and prints what comes back
#include <mchan.h>

#include <cerrno>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

class Channel {
public:
    enum class End { listens, opens };

    Channel(End end, const std::string &uri)
    {
        mchan *made = nullptr;
        mchan_opts opts = MCHAN_OPTS_INIT;
        check(end == End::listens ? mchan_listen(&made, uri.c_str(), &opts)
                                  : mchan_open(&made, uri.c_str(), &opts));
        handle_.reset(made);
    }

    // False if there is no room or nobody there; then wait().
    bool send(std::string_view text, std::uint16_t tag = 0)
    {
        mchan_msg message{};
        message.data = text.data();
        message.size = text.size();
        message.tag = tag;
        int error = mchan_send(handle_.get(), &message);
        if (error == -EAGAIN || error == -ENOTCONN) {
            return false;
        }
        return check(error) == 0;
    }

    // The next message, if there is one.
    std::optional<std::string> receive()
    {
        std::string text(mchan_message_max(handle_.get()), '\0');
        auto size = mchan_recv(handle_.get(), text.data(), text.size(), nullptr);
        if (size < 0) {
            return std::nullopt;
        }
        text.resize(static_cast<std::size_t>(size));
        return text;
    }

    std::optional<mchan_event> event()
    {
        mchan_event event{};
        return mchan_next_event(handle_.get(), &event) ? std::optional(event)
                                                       : std::nullopt;
    }

    void wait() { check(mchan_wait(handle_.get(), -1)); }

private:
    static int check(int result)
    {
        if (result < 0) {
            throw std::system_error(-result, std::generic_category(), "mchan");
        }
        return result;
    }

    struct Close {
        void operator()(mchan *handle) const { mchan_close(handle); }
    };
    std::unique_ptr<mchan, Close> handle_;
};

static void
echo(Channel channel)
{
    for (;;) {
        channel.wait();
        while (channel.event()) {
        }
        while (auto text = channel.receive()) {
            channel.send(*text);
        }
    }
}

static void
ask(Channel channel, char **words, int n_words)
{
    for (int sent = 0, back = 0; back < n_words;) {
        channel.wait();
        while (channel.event()) {
        }
        while (sent < n_words && channel.send(words[sent])) {
            sent++;
        }
        while (auto text = channel.receive()) {
            std::cout << *text << '\n';
            back++;
        }
    }
}

int
main(int argc, char **argv)
try {
    if (argc < 2) {
        std::cerr << "usage: echo URI [WORD...]\n";
        return 2;
    }
    if (argc == 2) {
        echo(Channel(Channel::End::listens, argv[1]));
    } else {
        ask(Channel(Channel::End::opens, argv[1]), argv + 2, argc - 2);
    }
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
