package main

import (
	"errors"
	"io"
	"time"

	"github.com/gorilla/websocket"
)

// webSocketStream is a WebSocket as a stream of bytes: messages have no meaning.
type webSocketStream struct {
	*websocket.Conn
	message io.Reader
}

func (w *webSocketStream) Read(into []byte) (int, error) {
	for {
		if w.message == nil {
			kind, message, err := w.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("a message that is not binary")
			}
			w.message = message
		}
		count, err := w.message.Read(into)
		if err != io.EOF {
			return count, err
		}
		w.message = nil
		if count > 0 {
			return count, nil
		}
	}
}

func (w *webSocketStream) Write(from []byte) (int, error) {
	if err := w.WriteMessage(websocket.BinaryMessage, from); err != nil {
		return 0, err
	}
	return len(from), nil
}

func (w *webSocketStream) SetDeadline(at time.Time) error {
	if err := w.SetReadDeadline(at); err != nil {
		return err
	}
	return w.SetWriteDeadline(at)
}
